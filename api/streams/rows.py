"""The queries of the streams, and log chunks as they are kept in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from services.db import Database
from services.events import StoredEvent, build_end

_EVENTS = sa.text("""
    SELECT e.launch, e.seq, extract(epoch FROM e.at)::float8 AS at, e.kind, e.state, e.data
    FROM unnest(CAST(:ids AS text[]), CAST(:seqs AS int[])) AS w(id, seq)
    JOIN event e ON e.launch = w.id AND e.seq > w.seq ORDER BY e.launch, e.seq
""").columns(data=sa.JSON)
_CHUNKS = sa.text("""
    SELECT c.build, c.first, c.last, c.body
    FROM unnest(CAST(:ids AS text[]), CAST(:lines AS int[])) AS w(id, line)
    JOIN log_chunk c ON c.build = w.id AND c.last > w.line ORDER BY c.build, c.first LIMIT :most
""")
_BUILDS = sa.text("""
    SELECT id, state, lines, reason, extract(epoch FROM ended_at)::float8 AS at FROM build WHERE id = ANY(CAST(:ids AS text[]))
""").columns(reason=sa.JSON)
PLACE = b"\0"  # stands for "<launch>.<event>" in encoded lines; JSON in ASCII cannot hold it


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines of a log, encoded once for all watchers but for whose stream they are in."""

    first: int
    last: int
    encoded: bytes

    @classmethod
    def of(cls, first: int, last: int, text: str) -> "Chunk":
        """Encode the lines of a stored chunk."""
        return cls(first, last, b"".join(
            b"id: \0.%d\ndata: %s\n\n" % (number, line.encode()) for number, line in enumerate(text.split("\n"), first)))

    def after(self, line: int) -> bytes:
        """What comes after a line, still with its placeholders."""
        if line < self.first:
            return self.encoded
        return self.encoded[self.encoded.index(b"id: \0.%d\n" % (line + 1)):]

    def until(self, line: int) -> "Chunk":
        """The same chunk up to and with a line."""
        if line >= self.last:
            return self
        return Chunk(self.first, line, self.encoded[:self.encoded.index(b"id: \0.%d\n" % (line + 1))])


async def events_after(db: Database, cursors: Mapping[str, int]) -> list[StoredEvent]:
    """New events of many launches in one query, in order."""
    rows = await db.rows(_EVENTS, {"ids": list(cursors), "seqs": list(cursors.values())})
    return [StoredEvent(row.launch, row.seq, row.at, row.kind, row.state, row.data) for row in rows]


async def builds_now(db: Database, builds: Iterable[str]) -> dict[str, StoredEvent | None]:
    """Which of these builds there are, each with its end if it has ended."""
    rows = await db.rows(_BUILDS, {"ids": list(builds)})
    return {row.id: None if row.at is None else build_end(row.id, row.at, row.state, row.lines, row.reason) for row in rows}


async def chunks_after(db: Database, cursors: Mapping[str, int], most: int) -> Iterable[tuple[str, Chunk]]:
    """New chunks of many logs in one query, in order; up to `most`, so ask again until none come."""
    rows = await db.rows(_CHUNKS, {"ids": list(cursors), "lines": list(cursors.values()), "most": most})
    return [(row.build, Chunk.of(row.first, row.last, row.body)) for row in rows]
