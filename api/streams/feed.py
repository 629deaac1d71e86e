"""One stream as this process knows it, of a launch or of a build, and the log of one build that any number of streams share.

A feed turns new events and new lines into bytes, in the one right order: lines of a build come after the event that
joined it and before the event that says how it ended, which names the last line (`log_end`). It only computes;
`Fanout` reads and sends. """

from collections import deque
from collections.abc import Callable, Iterator

from api.streams.position import Position
from api.streams.replay import Lines, Said, between
from api.streams.rows import PLACE, Chunk
from api.streams.watcher import Watcher
from services.events import ENDS_STREAM, Kind, StoredEvent

Encode = Callable[[StoredEvent, int], bytes]

_KEPT = 4 << 20  # bytes of one log that are kept in memory; what is older is read from the database
_LIVE = 1 << 20  # bytes that are written without waiting for the reader; more is read by each at its own pace


class Log:
    """The log of one build: its newest chunks."""

    def __init__(self, build: str) -> None:
        self.build = build
        self.last = 0
        self.wanted = 0  # the last line that is known to exist
        self.feeds: set[Feed] = set()
        self._chunks: deque[Chunk] = deque()
        self._size = 0

    @property
    def first(self) -> int:
        """The first line in memory."""
        return self._chunks[0].first if self._chunks else self.last + 1

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk; one that is known already is ignored."""
        if chunk.last <= self.last:
            return
        self._chunks.append(chunk)
        self._size += len(chunk.encoded)
        self.last = chunk.last
        while self._size > _KEPT and len(self._chunks) > 1:
            self._size -= len(self._chunks.popleft().encoded)

    def skip(self, line: int) -> None:
        """Lines up to this one are not there any more: they have expired."""
        if line > self.last:
            self._chunks.clear()
            self._size, self.last = 0, line

    def between(self, line: int, end: int) -> bytes | None:
        """Lines after `line` through `end`, with placeholders; None if they are not in memory any more."""
        if line >= end:
            return b""
        if line + 1 < self.first:
            return None
        parts: list[bytes] = []
        for chunk in reversed(self._chunks):
            if chunk.last <= line:
                break
            if chunk.first <= end:
                parts.append(chunk.until(end).after(line))
        return b"".join(reversed(parts))


class Feed:
    """One stream: the position that all its live watchers have reached, and what comes next.

    It is a launch's, or a build's own (`of_build`), which begins with the log and has one event, its end. `ends`: the kinds of
    event after which nothing is said.
    """

    def __init__(self, launch: str, encode: Encode, ends: frozenset[str] = ENDS_STREAM, *, of_build: bool = False) -> None:
        self.launch = launch  # or the build's id
        self.encode = encode
        self.ends = ends
        self.of_build = of_build
        self.heard = False  # whether it is known that there is such a launch or build
        self.event = 0
        self.line = 0
        self.log: Log | None = None
        self.ended = False
        self.watched_build = False
        self.live: set[Watcher] = set()
        self.behind: set[Watcher] = set()  # watchers that are being brought up
        self._next: dict[int, StoredEvent] = {}
        self._past: list[StoredEvent] = []  # all that have been said
        self._recalled: tuple[Position, Position, bytes] | None = None

    @property
    def position(self) -> Position:
        """Where the live watchers are."""
        return Position(self.event, self.line)

    def offer(self, event: StoredEvent) -> None:
        """Take news; what is known already is ignored."""
        self.heard = True
        if event.seq > self.event:
            self._next[event.seq] = event

    @property
    def newest(self) -> int:
        """The number of the last event that has been heard of."""
        return max(self._next, default=self.event)

    @property
    def gap(self) -> bool:
        """Whether an event before one that was offered is missing."""
        return bool(self._next) and self.event + 1 not in self._next

    def steps(self, join: Callable[[str], Log]) -> Iterator[bytes | None]:
        """Everything that can be said now, moving on; None where lines must be read from the database for each watcher.

        `join` gives the log of a build and registers this feed with it.
        """
        while not self.ended:
            event = self._next.get(self.event + 1)
            if self.log is not None:
                end = event.data.get("log_end") if event is not None else None
                if end is None and event is None:
                    end = self.log.last
                if end is not None:
                    if end > self.log.last:
                        self.log.wanted = max(self.log.wanted, end)
                        return
                    if end > self.line:
                        lines = self.log.between(self.line, end)
                        # The position moves with the lines: whoever is brought up asks for it while this generator
                        # rests.
                        self.line, self._recalled = end, None
                        if lines is None or len(lines) > _LIVE:
                            yield None
                        else:
                            yield lines.replace(PLACE, f"{self.launch}.{self.event}".encode())
            if event is None:
                return
            del self._next[event.seq]
            yield self._say(event, join)

    def past(self, start: Position, stop: Position) -> Iterator[Said | Lines]:
        """What comes after `start` through `stop`, which the feed has reached."""
        return between(self._past, start, stop, self.launch if self.of_build else "")

    def recall(self, start: Position) -> bytes | None:
        """Everything after `start` up to where the feed is, made once for all who come at the same moment; None if part of it
        is not in memory.
        """
        stop = self.position
        if self._recalled is not None and self._recalled[:2] == (start, stop):
            return self._recalled[2]
        out: list[bytes] = []
        for part in self.past(start, stop):
            if isinstance(part, Said):
                out.append(self.encode(part.event, part.line))
                continue
            known = self.log is not None and self.log.build == part.build
            lines = self.log.between(part.after, part.through) if known and self.log is not None else None
            if lines is None:
                return None
            out.append(lines.replace(PLACE, part.place))
        found = b"".join(out)
        if len(found) <= _LIVE:
            self._recalled = (start, stop, found)
        return found

    def _say(self, event: StoredEvent, join: Callable[[str], Log]) -> bytes:
        self.event = event.seq
        self._past.append(event)
        self._recalled = None
        if event.kind == Kind.BUILDING:
            self.line = 0
            self.leave()
            self.log = join(event.data["build"])
            self.watched_build = True
        elif "log_end" in event.data:
            self.leave()
        self.ended = event.kind in self.ends
        return self.encode(event, self.line)

    def leave(self) -> None:
        """Stop following the log."""
        if self.log is not None:
            self.log.feeds.discard(self)
            self.log = None
