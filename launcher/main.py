"""Puts a launcher together: one claim loop, one session with the hub, on one event loop."""

import asyncio

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
        "ref_url", "launch_host", "client", "options", "stop_reason", "rebuilt",
    ),
)


async def run(settings: Settings) -> None:
    """Work until told to stop."""
    process = Process(settings, "launcher")
    listener = Listener(process.redis, LAUNCHES)
    secret = Secret(settings.home.secret.get_secret_value())
    async with Hub(settings.hub) as hub:
        launching = Launching(process.teller, hub, make_images(settings), secret, settings.hub, settings.builds)
        loops = [
            ClaimLoop("launch", Claims(process.db, LAUNCH, process.owner, settings.leases.seconds), listener.ear(), launching.work,
                      capacity=settings.hub.concurrency, settings=settings.leases, batch=settings.hub.concurrency),
        ]

        async def close() -> None:
            await launching.aclose()

        await serve(process, LAUNCHES, listener, loops, before_end=close)


def main(settings: Settings) -> None:
    """Run one launcher process, on uvloop."""
    configured(settings, "launcher")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
