"""What there really is of builds and servers on this machine: directories, sockets, accounts, control groups, processes.

A directory is the handle of what runs, so a process is listed apart only where its directory has gone. Everything carries
the time of its making, from the disk or the kernel: a reaper that has just started knows how old a thing is.
"""

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.runtimes.base import Thing
from services.runtimes.local import trees
from services.runtimes.local.attempt import forget
from services.runtimes.local.detached import SHIM
from services.runtimes.local.groups import left_groups, remove_group
from services.runtimes.local.servers import Servers
from services.runtimes.local.workshop import Workshop


class LocalReality:
    """`Reality` of the runtime `local`."""

    def __init__(self, workshop: Workshop, servers: Servers) -> None:
        self._workshop, self._servers = workshop, servers
        self._paths = workshop.paths

    async def things(self) -> list[Thing]:
        """See `Reality`."""
        return await asyncio.to_thread(lambda: list(self._found()))

    async def clear(self, thing: Thing) -> None:
        """See `Reality`."""
        await asyncio.to_thread(self._clear, thing)

    def _found(self) -> Iterator[Thing]:
        paths = self._paths
        # Accounts first: whoever takes one makes its directory before, or right after.
        uids = list(_entries(paths.root / "uids"))
        builds = {path.name: path for path in _entries(paths.builds) if not path.name.startswith(".")}
        servers = {path.name: path for path in _entries(paths.servers) if not path.name.startswith(".")}
        for kind, found in (("build", builds), ("server", servers)):
            for name, path in found.items():
                yield Thing(kind, name, name, _age(path))
        for path in _entries(self._servers.sockets):
            if path.name not in {place(name) for name in servers}:
                yield Thing("socket", path.name, "", _age(path))
        for path in uids:
            with suppress(OSError):
                owner = path.read_text() if path.name.isdigit() else ""
                if owner not in builds and owner not in servers:
                    yield Thing("account", path.name, owner, _age(path))
        for top in (paths.builds, paths.images, paths.servers, self._servers.sockets):
            for path in _entries(top):
                if path.name.startswith(".removed-"):
                    yield Thing("remains", str(path.relative_to(top)), "", _age(path))
        for name, made in left_groups():
            yield Thing("group", name, "", made)
        yield from self._processes()

    def _processes(self) -> Iterator[Thing]:
        """Shims whose directory has gone: nobody can find them by it."""
        roots = tuple(f"{top}/" for top in (self._paths.builds, self._paths.servers, self._paths.bases))
        for path in _entries(Path("/proc")):
            if path.name.isdigit():
                with suppress(OSError):
                    words = [os.fsdecode(word) for word in (path / "cmdline").read_bytes().split(b"\0")]
                    directory = words[words.index(str(SHIM)) + 1] if str(SHIM) in words[:-1] else ""
                    if directory.startswith(roots) and not os.path.exists(directory):
                        yield Thing("process", path.name, "", _started(path))

    def _clear(self, thing: Thing) -> None:
        paths = self._paths
        if thing.kind == "build":
            forget(self._workshop, thing.name)
        elif thing.kind == "server":
            self._servers.remove(thing.name)
        elif thing.kind == "socket":
            trees.discard(self._servers.sockets / thing.name)
        elif thing.kind == "account":
            self._give_back(thing)
        elif thing.kind == "remains":
            for top in (paths.builds, paths.images, paths.servers, self._servers.sockets):
                if (top / thing.name).name == thing.name and (top / thing.name).exists():
                    trees.remove(top / thing.name)
        elif thing.kind == "group":
            remove_group(thing.name)
        elif thing.kind == "process" and any(found.name == thing.name for found in self._processes()):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(int(thing.name), signal.SIGKILL)

    def _give_back(self, thing: Thing) -> None:
        """Free an account of which nothing is left; while a process of it runs, that is ended first."""
        if self._paths.first_uid is None or not thing.name.isdigit():
            (self._paths.root / "uids" / thing.name).unlink(missing_ok=True)  # half of a file
            return
        uid = self._paths.first_uid + int(thing.name)
        for pid in _processes_of(uid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while _processes_of(uid):
            if time.monotonic() > deadline:
                return  # the reaper comes again
            time.sleep(0.05)
        (self._paths.root / "uids" / thing.name).unlink(missing_ok=True)


def place(name: str) -> str:
    """The directory of a server's socket, by the server's name."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _entries(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from list(directory.iterdir())


def _age(path: Path) -> float:
    """When it was made: of a directory that is the time of its oldest file that says so, since its own time moves on."""
    for name in ("job.json", "uses.json", "spec.json"):
        with suppress(OSError):
            return (path / name).lstat().st_mtime
    with suppress(OSError):
        return path.lstat().st_mtime
    return time.time()


def _started(process: Path) -> float:
    """When a process began (proc_pid_stat(5), field 22: clock ticks since boot)."""
    ticks = int((process / "stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def _processes_of(uid: int) -> list[int]:
    found = []
    for path in _entries(Path("/proc")):
        if path.name.isdigit():
            with suppress(OSError):
                if path.stat().st_uid == uid:
                    found.append(int(path.name))
    return found
