"""Puts a launcher together: claim loops for what is to be started and what is to be stopped, one session with the hub, on one
event loop.

They are two, so that neither a flood of launches nor a hub that has no room for more holds up what makes room. A third one
ends what has waited too long for a hub that stays away.
"""

import asyncio
from dataclasses import replace

import uvloop

from launcher.launching import Launching
from services.hub.client import Hub
from services.lifecycle import ClaimLoop, Claims, Process, Work, serve, shares
from services.lifecycle.process import configured
from services.policy import Policy
from services.queue import LAUNCHES, Listener
from services.runtimes import make_images
from services.secrets import Secret
from services.settings import Settings
from services.tasks import end

_COLUMNS = (
    "target", "state", "state_at", "attempt", "image", "build_only", "provider", "spec", "repo_url", "resolved_ref", "resolved_spec",
    "ref_url", "launch_host", "client", "options", "stop_reason", "rebuilt", "subdir", "environment_link", "environment_source",
)
# An image whose servers do not start, or that nobody has started yet, is held: one launch at a time tries it, the one that has
# got farthest, and the others wait for what comes of it. Few images are held, so this is empty but for moments.
_HELD = "SELECT i.name FROM image i WHERE i.held_until > now()"
_TRIES = f"""
 SELECT DISTINCT ON (x.image) x.id FROM launch x WHERE x.state = 'launching' AND x.target = 'ready' AND x.image IN ({_HELD})
 ORDER BY x.image, x.lease_owner IS NULL, x.attempt DESC, x.due, x.id
"""  # noqa: S608 - constants
LAUNCH = Work(
    name="launch", table="launch", columns=_COLUMNS, share=shares.LAUNCH,
    where=f"c.state = 'launching' AND c.target = 'ready' AND (c.image IS NULL OR c.image NOT IN ({_HELD}) OR c.id IN ({_TRIES}))",
    returns=f"now() - t.state_at AS age, t.image IN ({_HELD}) AS held",
)
STOP = Work(
    name="stop", table="launch", columns=_COLUMNS,
    where="(c.state = 'stopping' OR (c.state = 'ready' AND c.target = 'stopped') OR (c.state = 'launching' AND c.target = 'cancelled'))",
)
# A place is taken by a server that runs, stops or starts; a launch that nobody works on yet has none. What a dead launcher had is
# claimed again when a place is free for it, and is not counted twice.
_PLACES = """
 SELECT greatest(0, {limit} - (SELECT count(*) FROM launch p WHERE p.state IN ('ready', 'stopping')
   OR (p.state = 'launching' AND p.lease_owner IS NOT NULL AND p.lease_until >= now())))
"""
_STOPS = 32  # servers that one launcher stops at a time
_LATE = 64  # launches at a time that have waited too long for a hub that is away


def work(servers_total: int) -> Work:
    """What a launcher claims to start. Launches past the bound wait for a place instead of failing."""
    return replace(LAUNCH, places=_PLACES.format(limit=servers_total)) if servers_total else LAUNCH


def late(patience: float) -> Work:
    """What has waited longer than it may. While the hub is away nobody claims what is to be started, and this would never end."""
    return replace(
        LAUNCH, share=None,
        where=f"c.state = 'launching' AND c.target = 'ready' AND c.state_at < now() - {patience:.1f} * interval '1 second'")


async def run(settings: Settings) -> None:
    """Work until told to stop."""
    process = Process(settings, "launcher")
    listener = Listener(process.redis, LAUNCHES)
    secret = Secret(settings.home.secret.get_secret_value())
    policy = Policy(process.db, process.redis, settings.providers, settings.limits)
    policy.start()
    async with Hub(settings.hub) as hub:
        launching = Launching(process.teller, hub, make_images(settings), secret, settings.hub, settings.builds, policy)
        claims = Claims(process.db, work(settings.limits.servers_total), process.owner, settings.leases.seconds)
        loops = [
            ClaimLoop(
                "launch", claims, listener.ear(), launching.work, capacity=hub.throttle.room, settings=settings.leases,
                batch=settings.hub.concurrency),
            ClaimLoop(
                "stop", Claims(process.db, STOP, process.owner, settings.leases.seconds), listener.ear(), launching.work,
                capacity=lambda: _STOPS if hub.throttle.breaker.state().state in ("closed", "paused") else 0, settings=settings.leases),
            ClaimLoop(
                "late", Claims(process.db, late(settings.hub.patience), process.owner, settings.leases.seconds), listener.ear(),
                launching.give_up, capacity=lambda: 0 if hub.throttle.room() else _LATE, settings=settings.leases),
        ]
        watching = asyncio.create_task(hub.watch())

        async def close() -> None:
            await end(watching)
            await launching.aclose()
            await policy.aclose()

        await serve(process, LAUNCHES, listener, loops, before_end=close)


def main(settings: Settings) -> None:
    """Run one launcher process, on uvloop."""
    configured(settings, "launcher")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
