"""Memory and CPU of a tree of processes, from /proc, by part.

PSS (proportional set size) is what counts for a tree: memory that processes share is divided among them, so
that the sum is what the machine gives. RSS would count a shared library, and what forked processes have in
common, once per process. Which part a process is, `up` has written down in `<home>/run/pids`; what a part has
started counts as that part.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one part takes: all processes of it together."""

    name: str
    processes: int
    pss: int  # bytes
    rss: int  # bytes
    cpu: float  # seconds so far


@dataclass(frozen=True, slots=True)
class Tree:
    """The processes of a running Dockyard: `up` and all below it, and others that belong to the bench, by name."""

    up: int
    home: Path
    others: tuple[tuple[str, int], ...] = ()

    def usage(self) -> list[Usage]:
        """What each part takes now, largest first. Needs the accounts of the processes, or root."""
        found: dict[str, Usage] = {}
        for name, pid in self._processes():
            with suppress(OSError):  # it has just ended
                before = found.get(name, Usage(name, 0, 0, 0, 0.0))
                pss, rss = memory(pid)
                found[name] = Usage(name, before.processes + 1, before.pss + pss, before.rss + rss, before.cpu + cpu(pid))
        return sorted(found.values(), key=lambda one: -one.pss)

    def pids(self, name: str) -> list[int]:
        """The processes of one part."""
        return [pid for found, pid in self._processes() if found == name]

    def _processes(self) -> Iterator[tuple[str, int]]:
        names = _written_down(self.home) | {self.up: "up"} | {pid: name for name, pid in self.others}
        for root in (self.up, *(pid for _, pid in self.others)):
            parents: dict[int, int] = {}
            with suppress(psutil.NoSuchProcess):
                for one in psutil.Process(root).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):  # it has just ended; the others have not
                        parents[one.pid] = one.ppid()
                for pid in (root, *parents):
                    nearest = pid
                    while nearest not in names:
                        nearest = parents.get(nearest, root)
                    yield names[nearest], pid


def home_of(up: int) -> Path:
    """The home of a running `up`: as its parts were told."""
    for process in psutil.Process(up).children():
        with suppress(psutil.Error):
            if home := process.environ().get("DOCKYARD_HOME"):
                return Path(home)
    raise RuntimeError(f"Process {up} is no `dockyard up`, or another account's.")


def _written_down(home: Path) -> dict[int, str]:
    found = {}
    for path in (home / "run").resolve().glob("pids/[!.]*"):
        with suppress(OSError, ValueError, KeyError):
            found[int(json.loads(path.read_text())["pid"])] = path.name
    return found


def memory(pid: int) -> tuple[int, int]:
    """PSS and RSS of one process, in bytes; needs its account or root."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        values[key] = int(value.split()[0]) * 1024
    return values.get("Pss", 0), values.get("Rss", 0)


def shared(pid: int) -> int:
    """A process's share of memory that is shared on purpose, such as the buffers of Postgres, in bytes; part of its PSS."""
    with suppress(OSError):  # it has just ended
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            if line.startswith("Pss_Shmem:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


@dataclass(slots=True)
class Meter:
    """Cores that each part uses between two moments, and this process, as "load"."""

    tree: Tree
    before: dict[str, float]
    begun: float

    @classmethod
    def start(cls, tree: Tree) -> "Meter":
        """Begin to measure."""
        return cls(tree, _cpus(tree), time.monotonic())

    def now(self) -> dict[str, float]:
        """Seconds of CPU of each part so far."""
        return _cpus(self.tree)

    def cores(self) -> dict[str, float]:
        """Cores in use since the start, busiest first."""
        spent = time.monotonic() - self.begun
        found = {name: (now - self.before.get(name, 0.0)) / spent for name, now in _cpus(self.tree).items()}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        return ", ".join(f"{name} {cores:.2f}" for name, cores in self.cores().items() if cores >= 0.005) or "none"


def _cpus(tree: Tree) -> dict[str, float]:
    return {one.name: one.cpu for one in tree.usage()} | {"load": time.process_time()}
