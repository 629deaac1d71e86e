"""`bench idle`: what a Dockyard costs that nobody uses: memory (PSS) and CPU of every part of the tree of `up`.

It starts one on a new home, waits until it is healthy and a minute more, and then looks. With `--pid` it
looks at a running `up`.
"""

import argparse
import os
import time
from contextlib import ExitStack

from bench import machine, stack
from bench.processes import Meter, Tree, home_of
from bench.report import Report

BUDGET = 600  # MB


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.set_defaults(runs=1)
    parser.add_argument("-d", "--seconds", type=float, default=60.0, help="seconds of idleness")
    parser.add_argument("--pid", type=int, help="look at the `up` with this process id instead of starting one")
    parser.add_argument("--mock-hub", action="store_true", help="without JupyterHub and its proxy")


def bench(args: argparse.Namespace) -> Report:
    """Measure."""
    report = Report("idle", machine.describe())
    memory: dict[str, list[float]] = {}
    cores: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    hub: tuple[str, ...] | None = () if args.mock_hub else None
    for _ in range(args.runs):
        with ExitStack() as stop:
            tree = _running(args.pid) if args.pid else stop.enter_context(stack.running(hub=hub)).tree
            meter = Meter.start(tree)
            time.sleep(args.seconds)
            shares = meter.cores()
            for one in tree.usage():
                counts[one.name] = one.processes
                memory.setdefault(one.name, []).append(one.pss / 1e6)
                cores.setdefault(one.name, []).append(1000 * shares.get(one.name, 0.0))
    for name, values in memory.items():
        many = f" ({counts[name]} processes)" if counts[name] > 1 else ""
        report.add(f"{name}{many}", "MB", values)
    sums = [sum(values) for values in zip(*(v for v in memory.values() if len(v) == args.runs), strict=True)]
    report.add("memory in all (PSS)", "MB", sums)
    for name, values in sorted(cores.items(), key=lambda item: -max(item[1])):
        if max(values) >= 0.5:
            report.add(f"CPU of {name}", "ms/s", values)
    report.add("CPU in all", "ms/s", [sum(v) for v in zip(*cores.values(), strict=True)])
    user = "root" if os.geteuid() == 0 else "an ordinary user"
    report.notes.append(f"started by {user}; looked at after {args.seconds:.0f} s without a request")
    report.check(f"at most {BUDGET} MB in all", max(sums) <= BUDGET)
    return report


def _running(pid: int) -> Tree:
    return Tree(pid, home_of(pid))
