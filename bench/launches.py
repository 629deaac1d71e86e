"""`bench launches`: how many launches of an image that exists become `ready` per second, and how long each takes.

Closed loops of 1, 32 and 256 clients against a hub that starts nothing, so that what is seen is Dockyard's
own path: accept, write, wake, claim, ask the hub, write, tell. The image is made first by a real launch.
Afterwards the database is asked whether every launch that a client saw become `ready` is there.
"""

import argparse
from urllib.parse import quote

import uvloop

from bench import machine, stack
from bench.durable import check_launches
from bench.found import Round, Target, run
from bench.processes import Meter
from bench.report import Report

REPO = "https://example.org/bench/lines-3+slow-0"
SHA = "0123456789abcdef0123456789abcdef01234567"
PATH = f"/build/git/{quote(REPO, safe='')}/{SHA}"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("-c", "--clients", default="1,32,256", help="clients at a time, a list")
    parser.add_argument("-d", "--seconds", type=float, default=5.0, help="seconds of each run")
    parser.add_argument("--url", help="measure this server instead of starting one")
    parser.add_argument("--path", default=PATH, help="what is asked for below the server's address")
    parser.add_argument("--peer", metavar="URL", help="a BinderHub to do the same work, in the same bench")
    parser.add_argument("--hub-delay", type=float, default=0.0, help="seconds that the mock hub takes for a server")
    stack.arguments(parser)


def bench(args: argparse.Namespace) -> Report:
    """Measure."""
    report = Report("launches", machine.describe())
    with stack.measured(args, hub=("--delay", str(args.hub_delay))) as started:
        uvloop.run(_measure(args, report, started))
    return report


async def _measure(args: argparse.Namespace, report: Report, started: stack.Stack | None) -> None:
    ours = Target.of(started.url if started else args.url, args.path)
    peer = Target.of(args.peer, args.path) if args.peer else None
    rounds: list[Round] = []
    for target in (ours, peer):
        if target is not None:  # the first one makes the image, the others warm the code up
            rounds_before = [await run(target, 1, 0.2), await run(target, 8, 1.0)]
            if target is ours:
                rounds += rounds_before
    for clients in (int(word) for word in args.clients.split(",")):
        mine, theirs, cores = [], [], ""
        for _ in range(args.runs):
            meter = Meter.start(started.tree) if started else None
            mine.append(await run(ours, clients, args.seconds))
            cores = str(meter or "")
            if peer is not None:
                theirs.append(await run(peer, clients, args.seconds))
        rounds += mine
        _figures(report, clients, mine, theirs)
        if cores:
            report.notes.append(f"cores at {clients} clients: {cores}")
    for number, one in enumerate(rounds):
        for complaint, times in one.failures.items():
            report.check(f"no stream failed (run {number}, {one.clients} clients: {times} × {complaint})", False)
    if started is not None:
        launches = [launch for one in rounds for launch in one.launches]
        await check_launches(started.database_url(), launches, sum(one.ended for one in rounds), report)


def _figures(report: Report, clients: int, mine: list[Round], theirs: list[Round]) -> None:
    name = f"{clients} client{'s' if clients > 1 else ''}"
    report.add(f"{name}: ready per second", "/s", [one.rate for one in mine], [one.rate for one in theirs], more=True)
    for q in (0.5, 0.99):
        values = [one.quantile(q) for one in mine]
        report.add(f"{name}: p{q * 100:.0f}", "ms", values, [one.quantile(q) for one in theirs])
