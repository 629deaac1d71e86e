"""The past of a stream, from the database, for a watcher that comes late or back."""

from collections.abc import AsyncIterator, Callable

from api.phases import encode
from api.streams.position import Position
from api.streams.rows import PLACE, chunks_after, events_after
from services.db import Database
from services.events import Kind, StoredEvent


async def history(
    db: Database, launch: str, start: Position, stop: Position, token: Callable[[str], str],
) -> AsyncIterator[bytes]:
    """Everything after `start` through `stop`, in blocks, in the order of the live stream."""
    build, line = "", 0
    for event in await events_after(db, {launch: 0}):
        if event.seq > stop.event:
            break
        end = event.data.get("log_end")
        if event.seq > start.event:
            if build and end is not None:
                async for block in lines(db, build, line, end, f"{launch}.{event.seq - 1}"):
                    yield block
                line = end
            if event.kind == Kind.BUILDING:
                line = 0
            yield encode(event, line, token)
        build, line = _after(event, build, line, start)
    if build:
        async for block in lines(db, build, line, stop.line, f"{launch}.{stop.event}"):
            yield block


def _after(event: StoredEvent, build: str, line: int, start: Position) -> tuple[str, int]:
    """The build whose log comes next, and the line up to which it is known."""
    if event.kind == Kind.BUILDING:
        return event.data["build"], start.line if event.seq == start.event else 0
    if "log_end" in event.data:
        return "", line
    return build, start.line if event.seq == start.event else line


async def lines(db: Database, build: str, line: int, end: int, place: str) -> AsyncIterator[bytes]:
    """Lines after `line` through `end`, in blocks."""
    while line < end:
        found = list(await chunks_after(db, {build: line}, most=50))
        if not found:
            return
        for _, chunk in found:
            if chunk.first > end:
                return
            part = chunk.until(end)
            yield part.after(line).replace(PLACE, place.encode())
            line = part.last
