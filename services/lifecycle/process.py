"""What worker, launcher and reaper have in common: connections, signals, the loops and Celery's consumer beside
them.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import structlog

from services.db import Database
from services.events import Wake
from services.lifecycle import garbage
from services.lifecycle.loop import ClaimLoop
from services.lifecycle.numbers import LoopCollector, Surroundings
from services.lifecycle.roll import Roll
from services.lifecycle.teller import Teller
from services.observe import Metrics, configure
from services.observe.breakers import states
from services.queue import Bell, Consumer, Listener, Redis, make_app, sender
from services.settings import Settings
from services.tasks import end

log = structlog.get_logger()
_LEAVING = 0.5  # seconds for a farewell to Valkey
_CLOSING = 5.0  # seconds that closing connections may take


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
        self.metrics = Metrics(name)
        self.metrics.registry.register(Surroundings(self.redis))
        self._shown: list[asyncio.Task[None]] = []
        self._roll: Roll | None = None

    def show(self, facts: Callable[[], Mapping[str, Any]] = dict) -> list[asyncio.Task[None]]:
        """Answer scrapers and write into the roll from now on, with the breakers that are open beside `facts`."""

        def all_facts() -> Mapping[str, Any]:
            return {**facts(), "breakers": [asdict(state) for state in states() if not state.ok][:20]}

        self._roll = Roll(self.db, self.owner, self.name, all_facts)
        self._shown = [asyncio.create_task(self._roll.run()), asyncio.create_task(self.metrics.serve(self.settings.observe))]
        return self._shown

    async def aclose(self) -> None:
        """Send what is left to send and close."""
        await end(*self._shown)
        if self._roll is not None:
            await self._roll.leave()
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
    process.metrics.registry.register(LoopCollector(loops))
    shown = process.show(lambda: {"work": {loop.name: [loop.held, loop.capacity] for loop in loops}})
    listening = asyncio.create_task(listener.run())
    waiter = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([waiter, listening, *tasks, *shown], return_when=asyncio.FIRST_COMPLETED)
        for loop in loops:
            loop.stop()
        await asyncio.gather(*tasks)
        for task in shown:
            if task.done():
                task.result()
    finally:
        consumer.stop()
        await end(waiter, listening)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING):
                await listener.leave()
        if any(loop.given_back for loop in loops):
            process.bell.ring(queue)  # Not before: we would have heard it ourselves.
        await _closed(process, before_end)
        log.info("process_stopped")


async def _closed(process: Process, before_end: Callable[[], Awaitable[None]]) -> None:
    """Close everything, but not for ever: the rows are given back by now, and what does not end dies with the process."""
    async def close() -> None:
        await before_end()
        await process.aclose()

    closing = asyncio.create_task(close())
    done, _ = await asyncio.wait({closing}, timeout=_CLOSING)
    if done:
        closing.result()
        return
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        log.warning("task_does_not_end", task=repr(task)[:400], where=[str(frame) for frame in task.get_stack(limit=5)])
    logging.shutdown()
    os._exit(0)


def configured(settings: Settings, name: str) -> None:
    """Logging of the process, before anything else."""
    configure(settings.log, name)
