"""Reading: launches, builds, servers and what is going on, as frozen rows for the api."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.db import Database
from services.errors import NotFound
from services.events import ENDS_SERVER, ENDS_STREAM
from services.models import Build, Launch, Server
from services.usecases.places import position


async def stream_end(db: Database, launch: str, *, whole: bool = False) -> int | None:
    """The number of the event that ends a launch's stream, 0 while it goes on, None if there is no such launch.

    `whole`: the stream that does not end before the server.
    """
    rows = await db.rows(sa.text("""
        SELECT coalesce((SELECT min(seq) FROM event WHERE launch = :id AND kind = ANY(CAST(:ends AS text[]))), 0) AS seq
        FROM launch WHERE id = :id
    """), {"id": launch, "ends": sorted(ENDS_SERVER if whole else ENDS_STREAM)})
    return int(rows[0].seq) if rows else None


@dataclass(frozen=True, slots=True)
class Ends:
    """When a server will be stopped unless somebody uses it, why, and whether its launch has been told that this is soon."""

    at: datetime
    why: str
    told: bool


@dataclass(frozen=True, slots=True)
class LaunchView:
    """A launch as it is shown to whoever may see it."""

    row: Mapping[str, Any]
    timings: Mapping[str, float]  # state -> seconds spent in it so far
    ends: Ends | None  # of its ready server
    position: int | None  # launches and builds before this one, while it waits
    waits: str | None = None  # what it waits for that is away or has no room, as it was told last


_EVENTS = sa.text("""
    SELECT state, at, CASE WHEN jsonb_exists(data, 'waits') THEN data->>'message' END AS waits FROM event WHERE launch = :id ORDER BY seq
""")


async def launch(db: Database, launch_id: str) -> LaunchView:
    """One launch. Raises `NotFound`."""
    rows = await db.rows(sa.select(Launch.__table__, sa.func.now().label("now")).where(Launch.id == launch_id))
    if not rows:
        raise NotFound("There is no such launch. It may have expired; start a new one.")
    row = rows[0]._asdict()
    events = await db.rows(_EVENTS, {"id": launch_id})
    timings = _timings([(event.state, event.at) for event in events], row["created_at"], row["ended_at"] or row["now"])
    waits = events[-1].waits if events and row["ended_at"] is None else None
    return LaunchView(row, timings, await _ends(db, row), await position(db, row), waits)


async def _ends(db: Database, row: Mapping[str, Any]) -> Ends | None:
    rows = [] if row["state"] != "ready" else await db.rows(sa.text("""
        SELECT ends_at, ends_why, warned_at IS NOT NULL AS told FROM server WHERE launch = :id AND state = 'running' AND ends_at IS NOT NULL
    """), {"id": row["id"]})
    return Ends(rows[0].ends_at, rows[0].ends_why, rows[0].told) if rows else None


def _timings(events: list[tuple[str, datetime]], start: datetime, end: datetime) -> dict[str, float]:
    spent: dict[str, float] = {}
    for n, (state, at) in enumerate(events):
        until = events[n + 1][1] if n + 1 < len(events) else end
        spent[state] = round(spent.get(state, 0.0) + max(0.0, (until - at).total_seconds()), 3)
    return spent


async def build(db: Database, build_id: str) -> Mapping[str, Any]:
    """One build. Raises `NotFound`."""
    rows = await db.rows(sa.select(Build.__table__).where(Build.id == build_id))
    if not rows:
        raise NotFound("There is no such build. It may have expired.")
    return rows[0]._asdict()


async def server(db: Database, server_id: str) -> Mapping[str, Any]:
    """One server. Raises `NotFound`."""
    rows = await db.rows(sa.select(Server.__table__).where(Server.id == server_id))
    if not rows:
        raise NotFound("There is no such server. It may have been stopped long ago.")
    return rows[0]._asdict()


async def page(
    db: Database, table: sa.FromClause, *, where: Mapping[str, str], before: tuple[datetime, str] | None, most: int,
    order: str = "created_at",
) -> list[Mapping[str, Any]]:
    """The newest rows first, `most` of them, before a cursor (time and id of the last one seen)."""
    columns = table.c
    query = sa.select(table).order_by(columns[order].desc(), columns.id.desc()).limit(most)
    for key, value in where.items():
        query = query.where(columns[key] == value)
    if before is not None:
        query = query.where(sa.tuple_(columns[order], columns.id) < sa.tuple_(sa.literal(before[0]), sa.literal(before[1])))
    return [row._asdict() for row in await db.rows(query)]


async def log_text(db: Database, build_id: str, after: int, most: int = 2) -> list[tuple[int, int, str]]:
    """Chunks of a build's log after a line: first and last line, and the lines as stored; about 500 KB, which a
    reader that does not read keeps in memory.
    """
    rows = await db.rows(sa.text("""
        SELECT first, last, body FROM log_chunk WHERE build = :id AND last > :after ORDER BY first LIMIT :most
    """), {"id": build_id, "after": after, "most": most})
    return [(row.first, row.last, row.body) for row in rows]


async def stats(db: Database) -> Mapping[str, Any]:
    """Counts by state, and how long the oldest has waited, in seconds."""
    rows = await db.rows(sa.text("""
        SELECT
          (SELECT jsonb_object_agg(state, n) FROM (SELECT state, count(*) AS n FROM launch GROUP BY state) s) AS launches,
          (SELECT jsonb_object_agg(state, n) FROM (SELECT state, count(*) AS n FROM build GROUP BY state) s) AS builds,
          (SELECT jsonb_object_agg(state, n) FROM (SELECT state, count(*) AS n FROM server GROUP BY state) s) AS servers,
          (SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM launch
             WHERE state IN ('waiting', 'resolving', 'building', 'launching')) AS oldest_wait
    """).columns(launches=sa.JSON, builds=sa.JSON, servers=sa.JSON))
    return rows[0]._asdict()
