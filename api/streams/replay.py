"""The past of a stream, for a watcher that comes late or back: events out of memory, lines too where they are all there."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass

from api.streams.position import Position
from api.streams.rows import PLACE, chunks_after
from services.db import Database
from services.events import Kind, StoredEvent

_BLOCK = 256 << 10  # bytes that are given to a connection at a time
_CHUNKS = 8  # read at a time: 2 MB of a hostile log, which a reader that does not read keeps in memory


@dataclass(frozen=True, slots=True)
class Said:
    """An event; `line` is the number of the last log line before it."""

    event: StoredEvent
    line: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a build's log after one through another; `place` stands before their numbers in their ids."""

    build: str
    after: int
    through: int
    place: bytes


def between(events: Iterable[StoredEvent], start: Position, stop: Position, build: str = "") -> Iterator[Said | Lines]:
    """What comes after `start` through `stop`, in the order of the live stream; `events` are those from the first one on.

    `build`: the stream is this build's own and begins with its log.
    """
    launch, line = build, 0 if start.event else start.line
    for event in events:
        if event.seq > stop.event:
            break
        launch, end = event.launch, event.data.get("log_end")
        if event.seq > start.event:
            if build and end is not None:
                yield Lines(build, line, end, b"%b.%d" % (launch.encode(), event.seq - 1))
                line = end
            if event.kind == Kind.BUILDING:
                line = 0
            yield Said(event, line)
        build, line = _after(event, build, line, start)
    if build:
        yield Lines(build, line, stop.line, b"%b.%d" % (launch.encode(), stop.event))


def _after(event: StoredEvent, build: str, line: int, start: Position) -> tuple[str, int]:
    """The build whose log comes next, and the line up to which it is known."""
    if event.kind == Kind.BUILDING:
        return event.data["build"], start.line if event.seq == start.event else 0
    if "log_end" in event.data:
        return "", line
    return build, start.line if event.seq == start.event else line


async def history(
    db: Database, parts: Iterable[Said | Lines], encode: Callable[[StoredEvent, int], bytes], known: bytes | None = None,
) -> AsyncIterator[bytes]:
    """A past in blocks: `known`, where it is in memory, otherwise its parts, with the lines from the database."""
    if known is not None:
        for at in range(0, len(known), _BLOCK):
            yield known[at:at + _BLOCK]
        return
    for part in parts:
        if isinstance(part, Said):
            yield encode(part.event, part.line)
        else:
            async for block in _lines(db, part):
                yield block


async def _lines(db: Database, wanted: Lines) -> AsyncIterator[bytes]:
    line = wanted.after
    while line < wanted.through:
        found = list(await chunks_after(db, {wanted.build: line}, _CHUNKS))
        if not found:
            return
        for _, chunk in found:
            if chunk.first > wanted.through:
                return
            part = chunk.until(wanted.through)
            yield part.after(line).replace(PLACE, wanted.place)
            line = part.last
