"""Load of another sort: thousands of connections that read one log, and an account of what each of them got.

The log is that of the runtime `fake` (or of the peer's stand-in): "line n of N", line n made at a moment that
is known, so the lag of each line at each watcher is known without a clock in the message. One process holds
all watchers; a line costs it about half a microsecond.
"""

import asyncio
import itertools
import re
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from bench.found import Target

_LINE = re.compile(rb'"line (\d+) of ')
_END = re.compile(rb'"phase": ?"(ready|failed)"')


@dataclass(slots=True)
class Schedule:
    """When each line is made: line n at `begun + n * step`, by the wall clock."""

    lines: int
    step: float
    begun: float = 0.0

    def made(self, line: int) -> float:
        """The moment, in seconds since 1970."""
        return self.begun + line * self.step


@dataclass(slots=True)
class Crowd:
    """All watchers of one run, and what they have seen."""

    target: Target
    schedule: Schedule
    watchers: list["Watcher"] = field(default_factory=list)
    lags: "array[float]" = field(default_factory=lambda: array("f"))  # seconds, of lines made after one's first
    joined: "array[float]" = field(default_factory=lambda: array("f"))  # seconds from the answer to the first line
    readied: "array[float]" = field(default_factory=lambda: array("f"))  # seconds from the last line to `ready`
    failures: Counter[str] = field(default_factory=Counter)
    open: int = 0
    connect_seconds: float = 0.0

    async def connect(self, count: int, at_once: int = 200) -> None:
        """Open so many connections; returns when all have been tried."""
        loop, sources, begun = asyncio.get_running_loop(), itertools.cycle(self.target.sources), time.monotonic()
        waiting = iter(range(count))

        async def some() -> None:
            for _ in waiting:
                watcher = Watcher(self)
                try:
                    await loop.create_connection(
                        lambda: watcher, self.target.host, self.target.port, local_addr=(next(sources), 0)  # noqa: B023
                    )
                    await watcher.answered
                except OSError as exc:
                    self.failures[type(exc).__name__] += 1
                self.watchers.append(watcher)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, count)):
                group.create_task(some())
        self.connect_seconds = time.monotonic() - begun

    async def wait(self, deadline: float) -> None:
        """Wait until every watcher's stream has ended, at most until this moment of the monotonic clock."""
        while self.open and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Close what is still open."""
        for watcher in self.watchers:
            watcher.close()

    def complete(self) -> int:
        """How many watchers got every line exactly once and in order."""
        return sum(1 for watcher in self.watchers if watcher.good and watcher.next == self.schedule.lines + 1)

    def live(self, within: float = 5.0) -> int:
        """How many of those had the last line within so many seconds of its making."""
        by, end = self.schedule.made(self.schedule.lines) + within, self.schedule.lines + 1
        return sum(1 for watcher in self.watchers if watcher.good and watcher.next == end and watcher.last <= by)

    def ready(self) -> int:
        """How many streams ended in `ready`."""
        return sum(1 for watcher in self.watchers if watcher.end == b"ready")


class Watcher(asyncio.Protocol):
    """One connection. `next` is the line that has to come next."""

    __slots__ = ("_crowd", "_joined", "_opened", "_rest", "_transport", "answered", "end", "good", "last", "next")

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._rest = b""
        self._opened = self._joined = 0.0
        self._transport: asyncio.Transport | None = None
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.next = 1
        self.last = 0.0  # when the last line so far came
        self.good = True
        self.end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._crowd.target.request)
        self._crowd.open += 1

    def data_received(self, data: bytes) -> None:
        """Count the lines that are complete."""
        now, crowd = time.time(), self._crowd
        if not self.answered.done():
            self.answered.set_result(None)
            self._opened = now
        data = self._rest + data
        end = data.rfind(b"\n\n")
        if end < 0:
            self._rest = data
            return
        self._rest = data[end:]
        for number in _LINE.findall(data[:end]):
            line, self.last = int(number), now
            if line != self.next:
                if self.good:
                    what = "lines left out" if line > self.next else "a line repeated"
                    crowd.failures[f"{what}, first at line {self.next // 20 * 20}–{self.next // 20 * 20 + 19}"] += 1
                self.good = False
            self.next = line + 1
            made = crowd.schedule.made(line)
            if not self._joined:
                self._joined = now
                crowd.joined.append(now - max(self._opened, crowd.schedule.made(1)))
            elif made > self._joined:
                crowd.lags.append(now - made)
        found = _END.search(data, 0, end)
        if found and not self.end:
            self.end = found[1]
            if self.good and self.next != crowd.schedule.lines + 1:
                crowd.failures["ended without " + ("any line" if self.next == 1 else "the last lines")] += 1
            if self.end == b"ready":
                crowd.readied.append(now - crowd.schedule.made(crowd.schedule.lines))
            else:
                crowd.failures[data[found.start() : found.start() + 160].decode(errors="replace")] += 1
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ended by the other side, or by us at the end."""
        self._crowd.open -= 1
        if not self.answered.done():
            self.answered.set_result(None)
        if not self.end:
            self._crowd.failures[f"closed before the end: {exc or 'end of stream'}"] += 1

    def close(self) -> None:
        """Hang up."""
        self.end = self.end or b"hung up"
        if self._transport is not None:
            self._transport.close()


def quantile(values: "array[float]", q: float) -> float:
    """This share of the values is at most so many milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")
