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
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.embedded.account import Account, identity

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
    grace: float = 6.0  # seconds from that signal to SIGKILL


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
    ) -> None:
        self.command, self.log, self.on_line = command, log, on_line
        self.expected, self.said = expected, not expected  # whether it has written what was expected of it
        self.tail: deque[str] = deque(maxlen=20)  # the last lines it said
        self._process: asyncio.subprocess.Process | None = None
        self._follower: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its process id, which is its session's too."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has been started and not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; `OSError` if the program cannot be run."""
        self._process = await asyncio.create_subprocess_exec(
            *self.command.argv, env=dict(self.command.environ), cwd=self.command.cwd, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            limit=LINE, preexec_fn=dies_with_us(self.command.stop_signal), umask=0o022,
            **identity(self.command.account),
        )
        self._follower = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        reader = self._process.stdout
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
        assert self._process is not None
        status = await self._process.wait()
        self._kill_group()
        if self._follower is not None:
            # Somebody who inherited the pipe and left the group may keep it open.
            await asyncio.wait({self._follower}, timeout=1.0)
            self._follower.cancel()
        return status

    def kill(self) -> None:
        """End it and its group without asking."""
        if self.running:
            self._kill_group()

    async def stop(self) -> None:
        """Ask it to end, wait for the grace, then kill its group."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(self.command.stop_signal)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.command.grace):
                    await self._process.wait()
        self._kill_group()
        await self.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def dies_with_us(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child does between fork and exec so that the kernel ends it when we die; None off Linux."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

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
