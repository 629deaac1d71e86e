"""Puts a launcher together: one claim loop, one session with the hub, on one event loop."""

import asyncio
from dataclasses import replace

import uvloop

from launcher.launching import Launching
from services.hub.client import Hub
from services.lifecycle import ClaimLoop, Claims, Process, Work, serve
from services.lifecycle.process import configured
from services.queue import LAUNCHES, Listener
from services.runtimes import make_images
from services.secrets import Secret
from services.settings import Settings

LAUNCH = Work(
    name="launch", table="launch",
    where="(c.state IN ('launching', 'stopping') OR (c.state = 'ready' AND c.target = 'stopped'))",
    columns=(
        "target", "state", "attempt", "image", "build_only", "provider", "spec", "repo_url", "resolved_ref", "resolved_spec",
        "ref_url", "launch_host", "client", "options", "stop_reason", "rebuilt", "subdir", "environment_link", "environment_source",
    ),
)
# A place is taken by a server that runs, stops or starts; a launch that nobody works on yet has none.
_ROOM = """
 AND (c.state <> 'launching' OR c.lease_owner IS NOT NULL OR c.id IN (
   SELECT w.id FROM launch w WHERE w.state = 'launching' AND w.lease_owner IS NULL AND w.due <= now() ORDER BY w.due
   LIMIT greatest(0, {limit} - (SELECT count(*) FROM launch p
     WHERE p.state IN ('ready', 'stopping') OR (p.state = 'launching' AND p.lease_owner IS NOT NULL)))))
"""


def work(servers_total: int) -> Work:
    """What a launcher claims. Launches past the bound wait for a place instead of failing.

    Two launchers look at the same waiting launches in the same order and skip what the other has locked, so the bound holds.
    """
    return replace(LAUNCH, where=LAUNCH.where + _ROOM.format(limit=servers_total)) if servers_total else LAUNCH


async def run(settings: Settings) -> None:
    """Work until told to stop."""
    process = Process(settings, "launcher")
    listener = Listener(process.redis, LAUNCHES)
    secret = Secret(settings.home.secret.get_secret_value())
    async with Hub(settings.hub) as hub:
        launching = Launching(process.teller, hub, make_images(settings), secret, settings.hub, settings.builds)
        loops = [
            ClaimLoop(
                "launch", Claims(process.db, work(settings.limits.servers_total), process.owner, settings.leases.seconds),
                listener.ear(), launching.work, capacity=settings.hub.concurrency, settings=settings.leases,
                batch=settings.hub.concurrency),
        ]

        async def close() -> None:
            await launching.aclose()

        await serve(process, LAUNCHES, listener, loops, before_end=close)


def main(settings: Settings) -> None:
    """Run one launcher process, on uvloop."""
    configured(settings, "launcher")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
