"""`bench faults`: launches while everything is killed, paused, cut off and restarted, in an order that a seed decides.

With `--runtime fake` the builds and the hub are stand-ins and the processes real; `local` and `docker` break the whole tree
of `up`, with JupyterHub, its proxy, and real builds and servers of repositories on a git server beside it. As root a tree
of `local` stands on a small file system of its own, which is filled too. `--power N` instead kills the whole tree N times
(-9) and starts it again. It prints how many faults of each kind there were, how long rows had no owner after a kill, how
long it took after each fault until a launch of a known image was ready, and whether everything held (see `tests/faults`).
To replay a run, give its seed, runtime and minutes.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine
from bench.report import Report

if TYPE_CHECKING:
    from tests.faults.asks import Asks
    from tests.faults.driver import Outcome

DISK = "6g"  # of the small file system: what a new home and its environments take, and half as much again
REST = 130.0  # seconds that a tree gets in the end: no orphan may be older than 120


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.set_defaults(runs=1)
    parser.add_argument("--seed", type=int, default=1, help="decides the order of everything")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long things are broken, per run")
    parser.add_argument("--clients", type=int, default=0, help="clients that launch at a time (default: 6, of a tree 3)")
    parser.add_argument("--runtime", choices=("fake", "local", "docker"), default="fake")
    parser.add_argument("--power", type=int, default=0, metavar="N", help="kill the whole tree N times instead, and start it again")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")


def bench(args: argparse.Namespace) -> Report:
    """Break things; each run has the next seed."""
    report = Report("faults", machine.describe())
    for seed in range(args.seed, args.seed + args.runs):
        _add(report, f"{args.runtime}, seed {seed}: ", asyncio.run(_run(seed, args)))
    return report


async def _run(seed: int, args: argparse.Namespace) -> "Outcome":
    whole = args.power or args.runtime != "fake"
    with _directory(keep=args.keep, small=whole and args.runtime == "local" and not args.power) as (directory, disk):
        if not whole:
            from tests.faults.driver import Driver
            from tests.faults.site import site

            async with site(directory) as found:
                return await Driver(found, seed, clients=args.clients or 6).run(args.minutes * 60)
        return await _tree(directory, seed, args, disk=disk)


async def _tree(directory: Path, seed: int, args: argparse.Namespace, *, disk: bool) -> "Outcome":
    from tests.faults.driver import Driver
    from tests.faults.power import cut_off
    from tests.faults.tree import Tree

    async with (
        _surroundings(args.runtime, seed) as (asks, settings),
        Tree(directory, args.runtime, doors=not args.power, disk=disk, **settings) as tree,
    ):
        driver = Driver(tree, seed, asks=asks, clients=args.clients or 3, rest=REST, patience=300, breakers=3)
        if args.power:
            return await cut_off(tree, driver, seed, args.power)
        return await driver.run(args.minutes * 60)


@contextlib.asynccontextmanager
async def _surroundings(runtime: str, seed: int) -> AsyncIterator[tuple["Asks", dict[str, str]]]:
    """What clients ask for, on a git server, and for docker a registry; with the settings that lead there. Not on the small disk."""
    from tests.faults.asks import DockerAsks, FakeAsks, RealAsks
    from tests.gitserver import GitServer

    with tempfile.TemporaryDirectory(prefix="dfr-", ignore_cleanup_errors=True) as name:
        repositories = Path(name)
        repositories.chmod(0o755)
        if runtime == "fake":
            yield FakeAsks(seed), {}
        elif runtime == "local":
            async with GitServer(repositories) as git:
                yield RealAsks(git, repositories, seed), {}
        else:
            from tests.registryserver import registry
            from tests.services.runtimes.docker import lab

            if why := lab.reason():
                raise SystemExit(f"This cannot run: {why}.")
            lab.build_image()
            own = f"faults-{secrets.token_hex(4)}"
            with registry(repositories / "registry") as store, GitServer(repositories, host=lab.gateway()) as git:
                try:
                    yield DockerAsks(git, repositories, seed, lab.SERVING), lab.environment(
                        store, "engine", docker_installation=own, docker_server_network=own, builds_timeout=1200)
                finally:
                    lab.docker("network", "rm", own, f"{own}-builds", check=False)


@contextlib.contextmanager
def _directory(*, keep: bool, small: bool) -> Iterator[tuple[Path, bool]]:
    """A new directory, on a small file system of its own where that is wanted and allowed; whether it is."""
    directory = Path(tempfile.mkdtemp(prefix="df-"))
    mounted = small and os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0711", "dockyard-faults", str(directory)], check=False).returncode == 0
    directory.chmod(0o711)
    try:
        yield directory, mounted
    finally:
        if keep:
            kept = Path(tempfile.mkdtemp(prefix="dockyard-faults-"))
            for logs in (*directory.glob("*.log"), directory / "home" / "log"):
                if logs.exists():
                    subprocess.run(["cp", "-r", str(logs), str(kept)], check=False)
            print(f"logs are in {kept}")
        if mounted:
            subprocess.run(["umount", "-l", str(directory)], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _add(report: Report, name: str, outcome: "Outcome") -> None:
    report.add(f"{name}launches", "", [float(len(outcome.stories))], more=True)
    report.add(f"{name}faults", "", [float(outcome.faults.total())], more=True)
    _quantiles(report, f"{name}take-over after a kill", [one.after for one in outcome.takeovers])
    _quantiles(report, f"{name}of that, somebody could take over", [one.able for one in outcome.takeovers])
    _quantiles(report, f"{name}until a launch is ready after a fault", [value for found in outcome.recoveries.values() for value in found])
    for one in sorted(outcome.takeovers, key=lambda one: -one.after)[:3]:
        hurt = f"; not well meanwhile: {one.hurt}" if one.hurt else ""
        report.notes.append(f"{name}slow take-over: {one.what} after {one.after:.1f} s, possible for {one.able:.1f} s{hurt}")
    targets = defaultdict[str, list[float]](list)
    for fault, values in outcome.recoveries.items():
        targets[fault.partition(" ")[2]] += values
    for target, values in sorted(targets.items()):
        took = f"{quantile(values, 0.5):.1f} s (median), {max(values):.1f} s (most)"
        report.notes.append(f"{name}after {len(values)} × {target}: a launch is ready after {took}")
    kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(outcome.faults.items()))
    report.notes.append(f"{name}faults: {kinds}")
    report.notes.append(f"{name}launches ended {dict(outcome.ends)}; {outcome.used} servers answered and were stopped")
    report.notes.append(f"{name}the watch has looked " + ", ".join(f"{number} times {what}" for what, number in outcome.looks.items()))
    report.notes.append(f"{name}parts that ended by themselves: {dict(outcome.ended)}")
    report.notes += [f"{name}{count} × sound repository failed: {reason}" for reason, count in outcome.reasons.most_common()]
    report.check(f"{name}everything held", not outcome.wrong)
    report.notes += [f"{name}WRONG {sentence}" for sentence in outcome.wrong]


def _quantiles(report: Report, name: str, values: Sequence[float]) -> None:
    for share in (0.5, 0.99):
        if values:
            report.add(f"{name}, p{share * 100:.0f}", "s", [quantile(values, share)])


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
