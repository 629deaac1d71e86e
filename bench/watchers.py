"""`bench watchers`: thousands of watchers of one build on one api process.

A build of the runtime `fake` says 20 lines per second through the worker's log writer, as any build does,
while N connections watch it: each by its own launch on `/build` (which all become `ready` in the end), or all
on the event stream of one launch. Each must get every line exactly once and in order, however late it came.
The lag of a line is from the moment the build said it until the watcher's callback, so it includes what the
worker waits to gather lines. It is taken of the lines after a watcher's first one: until then its launch has
to be resolved and to join the build, which is a figure of its own.
"""

import argparse
import asyncio
import json
import resource
import secrets
import time
from pathlib import Path
from urllib.parse import quote

import uvloop

from bench import machine, stack
from bench.found import Target
from bench.processes import Meter, memory
from bench.report import Report
from bench.watch import Crowd, Schedule, quantile
from dockyard_client import AsyncClient

RATE = 20.0  # lines per second
CONNECTS = 150.0  # launches per second that the build's length allows for, until all have joined it


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("-w", "--watchers", type=int, default=5000, help="connections")
    parser.add_argument("-d", "--seconds", type=float, default=15.0, help="seconds that all of them watch")
    parser.add_argument("--via", choices=("build", "events"), default="build", help="a launch each, or one for all")
    parser.add_argument("--peer", metavar="URL", help="a BinderHub with bench/peer_config.py: which watchers get lines")
    stack.arguments(parser, "the watchers")


def bench(args: argparse.Namespace) -> Report:
    """Measure."""
    report = Report("watchers", machine.describe())
    runs: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    for _ in range(args.runs):
        with stack.measured(args) as started:
            assert started is not None
            _open_files()
            runs.append(uvloop.run(_measure(args, started, report)))
        if args.peer:
            theirs.append(uvloop.run(_peer(args)))
    units = {"lag": "ms", "memory": "KiB", "connecting": "s"}
    for name in runs[0]:
        unit = next((unit for word, unit in units.items() if word in name), "")
        peers = [run[name] for run in theirs if name in run]
        report.add(name, unit, [run[name] for run in runs], peers, more=not unit)
    return report


def _open_files() -> None:
    """Allow this process as many connections as the machine does; the server has to see to itself."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _measure(args: argparse.Namespace, started: stack.Stack, report: Report) -> dict[str, float]:
    schedule, path = _work(args)
    api = started.tree.pids("api")[0]
    before = memory(api)
    async with AsyncClient(started.url, started.admin_token) as client:
        first = await client.launches.create(provider="git", spec=path.removeprefix("/build/git/"))
        if args.via == "events":
            path = f"/api/v1/launches/{first.id}/events"
        schedule.begun = await _begun(started.home)
        crowd = Crowd(Target.of(started.url, path), schedule)
        try:
            await crowd.connect(args.watchers)
            meter, during = Meter.start(started.tree), memory(api)
            middle = schedule.made(schedule.lines) - args.seconds / 2
            await _until(middle)
            during = max(during, memory(api))
            await _until(schedule.made(schedule.lines))
            report.notes.append(f"cores while watching: {meter}")
            await crowd.wait(time.monotonic() + 300 + args.watchers / 50)
        finally:
            crowd.close()
    for complaint, times in crowd.failures.items():
        report.check(f"no watcher was disappointed ({times} × {complaint})", False)
    wanted = args.watchers
    report.check(f"{crowd.complete():,} of {wanted:,} watchers got all {schedule.lines:,} lines, each once, in order",
                 crowd.complete() == wanted)
    report.check(f"{crowd.ready():,} of {wanted:,} streams ended in `ready`", crowd.ready() == wanted)
    return {
        "watchers with every line live": float(crowd.live()), "watchers with every line": float(crowd.complete()),
        "streams that ended in `ready`": float(crowd.ready()),
        "lag of the first line p99": quantile(crowd.joined, 0.99),
        "lag p50": quantile(crowd.lags, 0.5), "lag p99": quantile(crowd.lags, 0.99),
        "lag max": quantile(crowd.lags, 1.0), "lag of `ready` p99": quantile(crowd.readied, 0.99),
        "api memory (PSS) per watcher": (during[0] - before[0]) / wanted / 1024,
        "api memory (RSS) per watcher": (during[1] - before[1]) / wanted / 1024,
        "connecting all": crowd.connect_seconds,
    }


async def _peer(args: argparse.Namespace) -> dict[str, float]:
    schedule, path = _work(args)
    schedule.begun = time.time()
    crowd = Crowd(Target.of(args.peer, path), schedule)
    try:
        await crowd.connect(args.watchers)
        await crowd.wait(time.monotonic() + schedule.lines * schedule.step + 30)
    finally:
        crowd.close()
    return {
        "watchers with every line live": float(crowd.live()), "watchers with every line": float(crowd.complete()),
        "streams that ended in `ready`": float(crowd.ready()), "connecting all": crowd.connect_seconds,
    }


def _work(args: argparse.Namespace) -> tuple[Schedule, str]:
    """A build that nobody has made yet, long enough for all to connect and to watch."""
    lines = int(RATE * (args.seconds + 1 + args.watchers / CONNECTS))
    script = f"https://example.org/watch/lines-{lines}+slow-{lines / RATE}"
    return Schedule(lines, 1 / RATE), f"/build/git/{quote(script, safe='')}/{secrets.token_hex(20)}"


async def _begun(home: Path) -> float:
    """When the fake build began, from its own file."""
    while True:
        for path in (home / "fake" / "builds").glob("*.json"):
            return float(json.loads(path.read_text())["at"])
        await asyncio.sleep(0.01)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.time()))
