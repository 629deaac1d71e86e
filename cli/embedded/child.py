"""One process of ours: started in a session of its own, followed line by line, stopped with all that it started.

A session of its own keeps the terminal's Ctrl-C away from it, so that the supervisor decides the order in which things
end; and its process group can be killed as one. Should the supervisor die without a word, the kernel sends the child
its stop signal (PR_SET_PDEATHSIG, Linux).
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.embedded.account import Account, identity
from cli.embedded.forge import Forge

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LINE = 1 << 16  # bytes of a line; a longer one is cut there


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, as whom, and how to end it."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)  # the whole environment
    account: Account | None = None  # None: as we are
    cwd: Path = Path("/")
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 7.5  # seconds from that signal to SIGKILL: the drain, and what closing takes
    module: tuple[str, ...] = ()  # a module of ours and its words: forked by the forge, where there is one


class Log:
    """A part's log file: appended to, rotated by size (two old ones are kept)."""

    def __init__(self, path: Path, limit: int = 8 << 20) -> None:
        self.path, self.limit = path, limit
        self.file = path.open("ab", buffering=0)
        self.size = path.stat().st_size

    def write(self, data: bytes) -> None:
        """Append; a full disk loses the line and nothing else."""
        if self.size + len(data) > self.limit:
            self._rotate()
        with contextlib.suppress(OSError):
            self.size += self.file.write(data) or 0

    def _rotate(self) -> None:
        self.file.close()
        with contextlib.suppress(OSError):
            first, second = (self.path.with_name(f"{self.path.name}.{n}") for n in (1, 2))
            if first.exists():
                first.replace(second)
            self.path.replace(first)
        self.file, self.size = self.path.open("ab", buffering=0), 0

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Child:
    """A running command."""

    def __init__(
        self, command: Command, log: Log, on_line: Callable[[str], None] | None = None, *, expected: str = "",
        forge: Forge | None = None,
    ) -> None:
        self.command, self.log, self.on_line = command, log, on_line
        self.forge = forge if command.module else None
        self.expected, self.said = expected, not expected  # whether it has written what was expected of it
        self.tail: deque[str] = deque(maxlen=20)  # the last lines it said
        self.pid = 0  # its process id, which is its session's too; 0 before the start
        self._ended: asyncio.Future[int] | None = None
        self._follower: asyncio.Task[None] | None = None
        self._pipe: asyncio.ReadTransport | None = None

    @property
    def running(self) -> bool:
        """Whether it has been started and not ended."""
        return self._ended is not None and not self._ended.done()

    async def start(self) -> None:
        """Start it; `OSError` if the program cannot be run."""
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader(limit=LINE)
        loop = asyncio.get_running_loop()
        self._pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb"))
        try:
            self.pid, self._ended = await self._begin(theirs)
        except BaseException:
            self._pipe.close()
            raise
        finally:
            os.close(theirs)
        self._follower = asyncio.create_task(self._follow(reader))

    async def _begin(self, output: int) -> tuple[int, asyncio.Future[int]]:
        command = self.command
        if self.forge is not None:
            account = command.account
            forked = await self.forge.fork(
                command.module, command.environ, output, uid=account and account.uid, gid=account and account.gid,
                cwd=str(command.cwd), signal=int(command.stop_signal),
            )
            return forked.pid, forked.ended
        process = await asyncio.create_subprocess_exec(
            *command.argv, env=dict(command.environ), cwd=command.cwd, start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, preexec_fn=dies_with_us(command.stop_signal, os.getpid()), umask=0o022,
            **identity(command.account),
        )
        return process.pid, asyncio.ensure_future(process.wait())

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                data = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                data = error.partial
            except asyncio.LimitOverrunError as error:
                data = await reader.read(error.consumed)
            if not data:
                return
            self.log.write(data)
            line = data.decode(errors="replace").rstrip()
            if line:
                self.tail.append(line)
                self.said = self.said or self.expected in line
                if self.on_line:
                    self.on_line(line)

    async def wait(self) -> int:
        """Wait for its end: the exit status, or minus the signal. What it left in its group is killed."""
        assert self._ended is not None
        status = await asyncio.shield(self._ended)
        self._kill_group()
        if self._follower is not None:
            # Somebody who inherited the pipe and left the group may keep it open.
            await asyncio.wait({self._follower}, timeout=1.0)
            self._follower.cancel()
        if self._pipe is not None:
            self._pipe.close()
        return status

    def kill(self) -> None:
        """End it and its group without asking."""
        if self.running:
            self._kill_group()

    async def stop(self) -> None:
        """Ask it to end, wait for the grace, then kill its group."""
        if self._ended is None:
            return
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, self.command.stop_signal)
            await asyncio.wait({self._ended}, timeout=self.command.grace)
        self._kill_group()
        await self.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def dies_with_us(stop_signal: signal.Signals, parent: int) -> Callable[[], None] | None:
    """What a child does after the fork so that the kernel ends it when its parent dies; None off Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, int(stop_signal))
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
