"""Puts a reaper together: Celery's beat sends a message for each sweep, the consumer runs it; without a broker the
reaper's own clock does.

A sweep that has just run says so in its row, so it does not matter how many reapers, beats and clocks ask for it.
"""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from celery import Celery
from celery.beat import EmbeddedService, Scheduler

from reaper.builds import Builds
from reaper.expiry import expire
from reaper.outlets import Outlet, OutletNumbers
from reaper.servers import Servers
from reaper.sweeps import Findings, Sweeps
from services.events.sinks import make_sinks
from services.hub.client import Hub
from services.lifecycle import Process, dependencies
from services.lifecycle.process import configured
from services.queue import HOUSEKEEPING, Consumer
from services.queue.app import TASKS
from services.registry.client import Registry
from services.runtimes import make_runtime
from services.settings import ReaperSettings, Settings

log = structlog.get_logger()
_OF_THE_HUB = ("cull", "servers")
_ENGINES = {"docker": "Docker engine", "kubernetes": "Kubernetes"}


def periods(settings: ReaperSettings) -> dict[str, float]:
    """Seconds between two runs of each sweep."""
    return {
        "nudge": min(5.0, settings.every), "cull": settings.every, "servers": settings.every, "builds": settings.every,
        "dependencies": settings.every, "expire": max(settings.every, 600.0),
    }


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
    runtime = make_runtime(settings)
    every = periods(settings.reaper)
    loop = asyncio.get_running_loop()
    async with Hub(settings.hub) as hub, contextlib.AsyncExitStack() as closing:
        servers = Servers(process.teller, hub, runtime.spawning, settings.reaper, exclusive=settings.hub.exclusive)
        builds = Builds(process.teller, runtime.builder, settings.reaper, settings.builds)

        async def old() -> Findings:
            return await expire(process.db, settings.reaper)

        async def look() -> Findings:
            return await dependencies.look(process.db, checks)

        checks: dict[str, Callable[[], Awaitable[object]]] = {"JupyterHub": hub.version}
        if runtime.name in _ENGINES:
            checks[_ENGINES[runtime.name]] = runtime.builder.running
        if settings.registry.url:
            checks["Registry"] = (await closing.enter_async_context(Registry(settings.registry))).ping
        table: dict[str, Callable[[], Awaitable[Findings]]] = {
            "nudge": builds.nudge, "cull": servers.cull, "servers": servers.orphans, "builds": builds.orphans, "expire": old,
            "dependencies": look,
        }
        sweeps = Sweeps(process.db, table, process.metrics.registry)
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
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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

    Those that speak to the hub run one after the other beside the rest, so that a hub which does not answer holds up no nudge.
    """
    queues: list[asyncio.Queue[str]] = [asyncio.Queue(), asyncio.Queue()]

    def ask(*names: str) -> None:
        for name in names:
            if name in every:
                queues[name in _OF_THE_HUB].put_nowait(name)

    return ask, [_sweeping(sweeps, queue, every) for queue in queues]


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


async def _sweeping(sweeps: Sweeps, wanted: asyncio.Queue[str], every: dict[str, float]) -> None:
    while True:
        name = await wanted.get()
        # A little early is not too early: beat's messages come a period apart, give or take their way.
        await sweeps.run(name, every[name] * 0.8)


def main(settings: Settings) -> None:
    """Run one reaper process."""
    configured(settings, "reaper")
    asyncio.run(run(settings))
