"""`bench gaps`: what launches depend on goes away for minutes and comes back; what becomes of the launches meanwhile and after.

Real processes on the runtime `fake` and the mock hub, with Postgres and Valkey of their own (see `tests/faults/gaps.py`). Each
case has an installation to itself: hub-down, hub-flapping, hub-slow, hub-429, hub-503, valkey-down, postgres-restarts. With a
real git server, and a real registry where one is installed: forge- and registry-down, -slow, -503, -429, -401, -403.
"""

import argparse
import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine
from bench.report import Report

if TYPE_CHECKING:
    from tests.faults.gaps import Gap

SECONDS = {"hub-down": 600.0, "valkey-down": 300.0, "postgres-restarts": 30.0}
OTHERS = 60.0
OUTSIDE = 45.0  # less than `builds.patience`


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.set_defaults(runs=1)
    parser.add_argument("--case", action="append", metavar="NAME", help="only this one; may be given again")
    parser.add_argument("--seconds", type=float, default=0.0, help="length of the gap (default: hub-down 600, valkey-down 300, others 60)")


def bench(args: argparse.Namespace) -> Report:
    """Run the cases one after the other."""
    from tests.faults.gaps import CASES
    from tests.faults.outside import CASES as OF_OUTSIDE

    report = Report("gaps", machine.describe())
    for name in args.case or [*CASES, *OF_OUTSIDE]:
        seconds = args.seconds or SECONDS.get(name, OUTSIDE if name in OF_OUTSIDE else OTHERS)
        gap = asyncio.run(_run(name, seconds))
        for what, value in gap.figures.items():
            report.notes.append(f"{name}, {seconds:.0f} s: {what}: {value:g}")
        report.check(f"{name}: no launch failed, no attempt was used up", not gap.wrong)
        report.notes += [f"{name}: {sentence}" for sentence in gap.wrong]
    return report


async def _run(name: str, seconds: float) -> "Gap":
    import httpx

    from tests.faults.checker import check, settled
    from tests.faults.gaps import CASES, run
    from tests.faults.outside import outside
    from tests.faults.site import site

    with tempfile.TemporaryDirectory(prefix="dockyard-gaps-") as directory:
        async with contextlib.AsyncExitStack() as stack:
            there = None if name in CASES else await stack.enter_async_context(outside(Path(directory)))
            found = await stack.enter_async_context(site(Path(directory), **(there.settings if there else {})))
            client = await stack.enter_async_context(httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{found.port}", trust_env=False, limits=httpx.Limits(max_connections=None), timeout=60))
            gap = await run(found, client, (there.cases if there else CASES)[name], seconds)
            gap.wrong += await settled(found, 60) + await check(found)
            return gap
