"""Memory and CPU of a tree of processes, from /proc.

PSS (proportional set size) is what counts for a tree: memory that processes share is divided among them, so
that the sum is what the machine gives. RSS would count a shared library once per process.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")
_MODULES = ("api", "worker", "launcher", "reaper", "deploy.hub", "bench.mock_hub", "services.runtimes.local.egress_proxy")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one part takes: all processes of it together."""

    name: str
    processes: int
    pss: int  # bytes
    rss: int  # bytes
    cpu: float  # seconds so far


def usage(*roots: int) -> list[Usage]:
    """The trees under these processes, by part, largest first."""
    found: dict[str, Usage] = {}
    for process in (one for root in roots for one in _tree(root)):
        with suppress(psutil.Error, OSError):
            name = part(process.cmdline())
            before = found.get(name, Usage(name, 0, 0, 0, 0.0))
            pss, rss = memory(process.pid)
            found[name] = Usage(
                name, before.processes + 1, before.pss + pss, before.rss + rss, before.cpu + cpu(process.pid)
            )
    return sorted(found.values(), key=lambda one: -one.pss)


def pids(root: int, name: str) -> list[int]:
    """The processes of one part under a process."""
    found = []
    for process in _tree(root):
        with suppress(psutil.Error):
            if part(process.cmdline()) == name:
                found.append(process.pid)
    return found


def memory(pid: int) -> tuple[int, int]:
    """PSS and RSS of one process, in bytes; needs its account or root."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        values[key] = int(value.split()[0]) * 1024
    return values["Pss"], values["Rss"]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def part(argv: list[str]) -> str:
    """Which part of ours a command line is."""
    for module in _MODULES:
        if "-m" in argv[:4] and module in argv[:5]:
            return module.rpartition(".")[2] if module != "deploy.hub" else "hub"
    if not argv:
        return "gone"
    if "cli" in argv[:5] and "up" in argv[:6]:
        return "up"
    if any("configurable-http-proxy" in word for word in argv[:6]):
        return "proxy"
    name = os.path.basename(argv[0].split(":")[0])
    return "valkey" if name.startswith("valkey") else name


def _tree(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@dataclass(slots=True)
class Meter:
    """CPU shares of trees, and of this process as "load", between two moments."""

    roots: tuple[int, ...]
    before: dict[str, float]
    begun: float

    @classmethod
    def start(cls, *roots: int) -> "Meter":
        """Begin to measure."""
        before = {one.name: one.cpu for one in usage(*roots)}
        return cls(roots, {**before, "load": time.process_time()}, time.monotonic())

    def shares(self) -> dict[str, float]:
        """Cores that each part has used since the start, busiest first."""
        spent = time.monotonic() - self.begun
        now = {one.name: one.cpu for one in usage(*self.roots)} | {"load": time.process_time()}
        found = {name: (cpu - self.before.get(name, 0.0)) / spent for name, cpu in now.items()}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def shares_as_text(shares: dict[str, float]) -> str:
    """For a note: "api 0.52, launcher 0.41 …", without those that did nothing."""
    return ", ".join(f"{name} {share:.2f}" for name, share in shares.items() if share >= 0.005) or json.dumps(None)
