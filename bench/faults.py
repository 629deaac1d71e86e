"""`bench faults`: launches while everything is killed, paused, cut off and restarted, in an order that a seed decides.

It prints how many faults of each kind there were, how long rows had no owner after a kill, how long it took after each
fault until a launch of a known image was ready, and whether everything held in the end (see `tests/faults`). Only the
runtime `fake` and the mock hub, so far.
"""

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine
from bench.report import Report

if TYPE_CHECKING:
    from tests.faults.driver import Outcome


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.set_defaults(runs=1)
    parser.add_argument("--seed", type=int, default=1, help="decides the order of everything")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long things are broken, per run")
    parser.add_argument("--clients", type=int, default=6, help="clients that launch at a time")
    parser.add_argument("--runtime", choices=("fake",), default="fake")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")


def bench(args: argparse.Namespace) -> Report:
    """Break things; each run has the next seed."""
    report = Report("faults", machine.describe())
    for seed in range(args.seed, args.seed + args.runs):
        _add(report, seed, asyncio.run(_run(seed, args)))
    return report


async def _run(seed: int, args: argparse.Namespace) -> "Outcome":
    from tests.faults.driver import Driver
    from tests.faults.site import site

    directory = Path(tempfile.mkdtemp(prefix="dockyard-faults-"))
    try:
        async with site(directory) as found:
            return await Driver(found, seed, clients=args.clients).run(args.minutes * 60)
    finally:
        if args.keep:
            print(f"logs are in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _add(report: Report, seed: int, outcome: "Outcome") -> None:
    name = f"seed {seed}: "
    report.add(f"{name}launches", "", [float(len(outcome.stories))], more=True)
    report.add(f"{name}faults", "", [float(outcome.faults.total())], more=True)
    for share in (0.5, 0.99):
        if outcome.takeovers:
            report.add(f"{name}take-over after a kill, p{share * 100:.0f}", "s", [quantile(outcome.takeovers, share)])
    recoveries = [value for values in outcome.recoveries.values() for value in values]
    for share in (0.5, 0.99):
        if recoveries:
            report.add(f"{name}until a launch is ready after a fault, p{share * 100:.0f}", "s", [quantile(recoveries, share)])
    for kind, count in sorted(outcome.faults.items()):
        values = outcome.recoveries.get(kind, [])
        report.notes.append(f"{name}{count} × {kind}, at most {max(values, default=0.0):.1f} s until a launch was ready")
    report.notes.append(f"{name}ends {dict(outcome.ends)}")
    report.notes.append(f"{name}parts that ended by themselves: {dict(outcome.ended)}")
    report.notes += [f"{name}{count} × sound repository failed: {reason}" for reason, count in outcome.reasons.most_common()]
    report.check(f"{name}everything held", not outcome.wrong)
    report.notes += [f"{name}{sentence}" for sentence in outcome.wrong]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
