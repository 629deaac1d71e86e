"""Processes of this machine as a test looks at them: any may end, or wait to be reaped, between two looks.

psutil raises for those, each of its methods at another moment. What is asked here has an answer for them.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

minded: set[int] = set()  # children of this process that a fixture ends which outlives the test
_started = [False]
sys.addaudithook(lambda event, _: _started.append(True) if event in ("subprocess.Popen", "os.fork", "os.posix_spawn") else None)


def children(known: frozenset[int]) -> frozenset[int]:
    """This process's own that run and nobody minds; `known` at once where none was started since the last call."""
    if not _started:
        return known
    _started.clear()
    found = psutil.Process().children()
    return frozenset(one.pid for one in found if one.pid not in minded and alive(one.pid))


def words(process: psutil.Process | int) -> list[str]:
    """Its command line; nothing where it has gone or is another account's."""
    with contextlib.suppress(psutil.Error):
        return (psutil.Process(process) if isinstance(process, int) else process).cmdline()
    return []


def alive(pid: int) -> bool:
    """Whether it runs: what nobody has reaped yet does not."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def below(pid: int) -> list[psutil.Process]:
    """All that it has started and that, in turn, have; nothing where it has gone."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def told_of(path: Path, *, environment: bool = True) -> list[psutil.Process]:
    """All, but this one, that have the path in their command line or, unless that is not to count, in their environment."""
    found = []
    for process in psutil.process_iter():
        told = words(process)
        if environment:
            with contextlib.suppress(psutil.Error):
                told = [*told, *process.environ().values()]
        if process.pid != os.getpid() and any(str(path) in word for word in told):
            found.append(process)
    return found


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """The addresses at which it waits for connections."""
    with contextlib.suppress(psutil.Error):
        return {(one.laddr.ip, one.laddr.port) for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    return set()


async def gone(*pids: int) -> None:
    """Wait until none of them runs."""
    async with asyncio.timeout(60):
        while any(map(alive, pids)):
            await asyncio.sleep(0.01)


def kill(pid: int) -> None:
    """End it and all that it has started; they are gone afterwards, but that our own child still is to be waited for."""
    family = below(pid)
    with contextlib.suppress(psutil.Error):
        psutil.Process(pid).kill()
    for one in family:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(family, 60)


@contextlib.contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Whatever happens in the block, the process and all below it have ended after it, and its pipes are closed."""
    with process:
        try:
            yield process
        finally:
            kill(process.pid)
