"""The table of sweeps: what each is called, what it does, how often it runs, and which need the hub.

    nudge      rings for rows that nobody works on            things        orphans in the runtime
    activity   reads activity from the hub, finds lost ones   users         orphans at the hub, stray routes
    cull       ends idle, old and unopened servers, warns     images        images by last use, room on the disk
    unwanted   builds that nobody waits for                   expire        old rows, logs and addresses
    abandoned  launches that nobody watches                   dependencies  who answers
                                                              schema        the end of an upgrade
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from reaper.builds import Builds
from reaper.deeds import Deeds
from reaper.expiry import expire
from reaper.images import Images
from reaper.orphans import Orphans
from reaper.schema import Schema
from reaper.servers import Servers
from reaper.sweeps import Findings, Sweep
from services.hub.activity import Servers as Asked
from services.hub.client import Hub
from services.lifecycle import Teller, dependencies
from services.registry.client import Registry
from services.runtimes import make_runtime
from services.secrets import Secret
from services.settings import ReaperSettings, Settings

OF_THE_HUB = ("activity", "cull", "users")
SLOW = ("images", "expire", "things")  # they read disks and engines, and may take minutes
_ENGINES = {"docker": "Docker engine", "kubernetes": "Kubernetes"}


def periods(settings: ReaperSettings) -> dict[str, float]:
    """Seconds between two runs of each sweep, at least: one that takes long is run less often."""
    every = settings.every
    return {
        "nudge": min(5.0, every), "cull": every, "activity": settings.hub_every, "users": max(every, settings.hub_every),
        "unwanted": every, "abandoned": every, "things": every, "dependencies": every, "images": settings.images_every,
        "expire": max(every, 600.0), "schema": max(every, 60.0),
    }


@contextlib.asynccontextmanager
async def table(settings: Settings, teller: Teller, deeds: Deeds) -> AsyncIterator[Mapping[str, Sweep]]:
    """The sweeps by name; inside of the block."""
    runtime, db, reaper = make_runtime(settings), teller.db, settings.reaper
    async with Hub(settings.hub) as hub, Asked(reaper.servers_url) as asked, contextlib.AsyncExitStack() as closing:
        if closes := getattr(runtime, "aclose", None):
            closing.push_async_callback(closes)
        key = settings.home.secret.get_secret_value()  # without it servers cannot be asked for their own activity
        secret = Secret(key) if key else None
        servers = Servers(teller, hub, asked, secret, reaper, deeds)
        builds = Builds(teller, reaper, settings.builds, deeds)
        orphans = Orphans(db, hub, runtime.reality, reaper, deeds, exclusive=settings.hub.exclusive)
        images = Images(db, runtime.images, settings, deeds)
        checks: dict[str, Callable[[], Awaitable[object]]] = {"JupyterHub": hub.accepts}
        if runtime.name in _ENGINES:
            checks[_ENGINES[runtime.name]] = runtime.builder.running
        if settings.registry.url:
            checks["Registry"] = (await closing.enter_async_context(Registry(settings.registry))).ping

        async def old() -> Findings:
            return await expire(db, reaper, deeds)

        async def look() -> Findings:
            return {} if deeds.dry else await dependencies.look(db, checks)

        yield {
            "nudge": builds.nudge, "activity": servers.activity, "cull": servers.cull, "unwanted": builds.unwanted,
            "abandoned": builds.abandoned, "users": orphans.users, "things": orphans.things, "images": images.collect,
            "expire": old, "dependencies": look, "schema": Schema(db, settings.database, deeds, allowed=reaper.migrate).finish,
        }
