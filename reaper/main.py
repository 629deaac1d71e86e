"""Puts a reaper together: Celery's beat sends a message for each sweep, the consumer runs it; without a broker the
reaper's own clock does.

A sweep that has just run says so in its row, so it does not matter how many reapers, beats and clocks ask for it.
"""

import asyncio
import shutil
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from celery import Celery
from celery.beat import EmbeddedService, Scheduler

from reaper.deeds import Deeds
from reaper.outlets import Outlet, OutletNumbers
from reaper.sweeps import Sweeps
from reaper.table import OF_THE_HUB, SLOW, periods, table
from services.events.sinks import make_sinks
from services.lifecycle import Process
from services.lifecycle.process import configured
from services.queue import HOUSEKEEPING, Consumer
from services.queue.app import TASKS
from services.settings import Settings
from services.tasks import end

log = structlog.get_logger()

def _beat(app: Celery, every: dict[str, float]) -> EmbeddedService:
    """Celery's beat in a thread of this process."""
    app.conf.beat_schedule = {
        name: {"task": TASKS[HOUSEKEEPING], "schedule": seconds, "args": (name,), "options": {"queue": HOUSEKEEPING, "expires": seconds}}
        for name, seconds in every.items()
    }
    # In memory: when a sweep last ran stands in its row, and a file of beat's own would be left behind by every reaper.
    beat = EmbeddedService(app, thread=True, scheduler_cls=Scheduler)
    beat.daemon = True
    return beat


async def run(settings: Settings) -> None:
    """Sweep until told to stop."""
    process = Process(settings, "reaper")
    every = periods(settings.reaper)
    loop = asyncio.get_running_loop()
    async with table(settings, process.teller, Deeds()) as found:
        sweeps = Sweeps(process.db, found, process.metrics.registry, process.owner)
        numbers = OutletNumbers(process.metrics.registry)
        outlets = [
            Outlet(process.db, sink, settings.events, process.owner, numbers, keep_days=settings.reaper.keep_days)
            for sink in make_sinks(settings.events)
        ]

        ask, works = lanes(sweeps, every)

        def rung(*names: str) -> None:
            loop.call_soon_threadsafe(ask, *names)

        consumer = Consumer(process.celery, HOUSEKEEPING, rung)
        consumer.start()
        beat = _beat(process.celery, every)
        beat.start()
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(_clock(ask, every)), *[asyncio.create_task(work) for work in works],
            *process.show(lambda: {"disk": disk(settings)}), *[asyncio.create_task(outlet.run()) for outlet in outlets],
        ]
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        log.info("process_started", owner=process.owner)
        waiter = asyncio.create_task(stopped.wait())
        done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await end(*tasks)
        for task in tasks:
            if task in done:
                task.result()
        consumer.stop()
        for outlet in outlets:
            await outlet.aclose()
        await process.aclose()
        log.info("process_stopped")


def disk(settings: Settings) -> dict[str, object]:
    """How full the disk of the home is, and how much of it has to stay free; empty where there is no home here."""
    path = settings.home.path
    try:
        found = shutil.disk_usage(path) if path else None
    except OSError:
        return {}
    return {"path": path, "total": found.total, "free": found.free, "keep": settings.local.free_bytes} if found else {}


def lanes(
    sweeps: Sweeps, every: dict[str, float],
) -> tuple[Callable[..., None], list[Coroutine[Any, Any, None]]]:
    """How sweeps are asked for, by names, and the work that runs them for ever.

    Those that speak to the hub, and those that read disks and engines, run one after the other beside the rest, so that a hub
    which does not answer holds up no nudge. What waits already is not asked for again; what has failed is, in a few seconds.
    """
    queues: list[asyncio.Queue[str]] = [asyncio.Queue(), asyncio.Queue(), asyncio.Queue()]
    waiting: set[str] = set()

    def ask(*names: str) -> None:
        for name in names:
            if name in every and name not in waiting:
                waiting.add(name)
                queues[1 if name in OF_THE_HUB else 2 if name in SLOW else 0].put_nowait(name)

    async def sweeping(queue: asyncio.Queue[str]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            name = await queue.get()
            waiting.discard(name)
            # A little early is not too early: beat's messages come a period apart, give or take their way.
            await sweeps.run(name, min(every[name], sweeps.soon(name) or every[name]) * 0.8)
            if (wait := sweeps.soon(name)) and wait < every[name]:
                loop.call_later(wait, ask, name)

    return ask, [sweeping(queue) for queue in queues]


async def _clock(ask: Callable[..., None], every: dict[str, float]) -> None:
    """Ask for every sweep at its time, in case that no message does."""
    due = dict.fromkeys(every, 0.0)
    loop = asyncio.get_running_loop()
    while True:
        now = loop.time()
        for name, at in due.items():
            if at <= now:
                due[name] = now + every[name] * 1.5
                ask(name)
        await asyncio.sleep(1)


def main(settings: Settings) -> None:
    """Run one reaper process."""
    configured(settings, "reaper")
    asyncio.run(run(settings))
