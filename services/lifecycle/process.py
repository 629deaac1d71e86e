"""What worker, launcher and reaper have in common: connections, signals, the loops and Celery's consumer beside
them.
"""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.db import Database
from services.events import Wake
from services.lifecycle import garbage
from services.lifecycle.loop import ClaimLoop
from services.lifecycle.teller import Teller
from services.observe import configure
from services.queue import Bell, Consumer, Listener, Redis, make_app, sender
from services.settings import Settings

log = structlog.get_logger()


class Process:
    """The connections of one process. Make it inside its event loop."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self.name = name
        # A name that no other process has had: leases of a process that died are never mistaken for ours.
        self.owner = f"{name}@{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.db = Database(settings.database, application=f"dockyard-{name}")
        self.redis = Redis(settings.redis)
        self.celery = make_app(settings.redis)
        self.bell = Bell(self.redis, sender(self.celery))
        self.wake = Wake(self.redis)
        self.teller = Teller(self.db, self.wake, self.bell)

    async def aclose(self) -> None:
        """Send what is left to send and close."""
        await self.teller.aclose()
        await self.wake.aclose()
        await self.bell.aclose()
        await self.redis.aclose()
        await self.db.aclose()


async def serve(
    process: Process, queue: str, listener: Listener, loops: Sequence[ClaimLoop], *, before_end: Callable[[], Awaitable[None]],
) -> None:
    """Run the loops until SIGTERM or SIGINT, then drain. A loop that fails takes the process with it, for the
    supervisor to start anew.
    """
    stopped = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stopped.set)

    consumer = Consumer(process.celery, queue, lambda *_: listener.rung())
    consumer.start()
    garbage.settle()
    log.info("process_started", owner=process.owner)
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    listening = asyncio.create_task(listener.run())
    waiter = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([waiter, listening, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for loop in loops:
            loop.stop()
        await asyncio.gather(*tasks)
    finally:
        waiter.cancel()
        listening.cancel()
        consumer.stop()
        await before_end()
        await process.aclose()
        log.info("process_stopped")


def configured(settings: Settings, name: str) -> None:
    """Logging of the process, before anything else."""
    configure(settings.log, name)
