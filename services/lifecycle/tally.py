"""Counts of what became of launches and builds, kept in the database, where they are made: once each, whoever dies.

Builds are counted in the transaction that ends them. Launches are counted from their events by one process at a time, which
moves its cursor in the same transaction; so nothing is counted twice or not at all. A process may read the totals at any
time. Beside them stands the last day, by the minute, for the curves of the ops page. Labels have bounds: a repository is none.

| measure    | status                                   | detail               | seconds                                 |
|------------|------------------------------------------|----------------------|-----------------------------------------|
| outcome    | ready, done, failed, cancelled, stopped  | code of the reason   | since the launch was accepted           |
| hub        | success, failure, retry                  | retries before       | since the hub was asked                 |
| wait       | success, failure                         |                      | that a launch has waited for its build  |
| step       | state of a launch                        |                      | in that state, until it left it         |
| build      | built, failed, cancelled                 | code of the reason   | since the build began                   |
| build_step | state of a build                         |                      | in that state                           |
"""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database
from services.events.cursor import FRESH, Cursor

# Upper bounds of the buckets of all durations, in seconds; a last one has no bound.
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
MOST = 5000  # events of one statement
_KEPT = "26 hours"
_BY_MINUTE = "('outcome', 'build')"

_ADD = f"""
  INSERT INTO tally (at, measure, status, provider, detail, bucket, number, seconds)
  SELECT m.at, c.measure, c.status, c.provider, c.detail, width_bucket(c.seconds, CAST(:bounds AS float8[])), count(*), sum(c.seconds)
  FROM counted c, LATERAL (VALUES (CAST('-infinity' AS timestamptz)), (date_trunc('minute', c.at))) m(at)
  WHERE m.at = '-infinity' OR c.measure IN {_BY_MINUTE}
  GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
  ON CONFLICT (at, measure, status, provider, detail, bucket)
  DO UPDATE SET number = tally.number + excluded.number, seconds = tally.seconds + excluded.seconds
"""  # noqa: S608 - constants

_LAUNCHES = sa.text(f"""
WITH fresh AS MATERIALIZED ({FRESH}), told AS MATERIALIZED (
  SELECT f.launch, f.seq, f.at, f.kind, f.data, l.provider, l.created_at, h.asked_at, h.joined_at, h.retries
  FROM fresh f
  CROSS JOIN LATERAL (SELECT provider, created_at FROM launch WHERE id = f.launch OFFSET 0) l
  CROSS JOIN LATERAL (
    SELECT max(at) FILTER (WHERE kind IN ('launching', 'retrying')) AS asked_at, max(at) FILTER (WHERE kind = 'building') AS joined_at,
      count(*) FILTER (WHERE kind = 'retrying') AS retries
    FROM event WHERE launch = f.launch AND seq < f.seq) h
  WHERE f.kind IN ('built', 'retrying', 'ready', 'done', 'failed', 'cancelled', 'stopped')
), counted AS (
  SELECT 'outcome' AS measure, kind AS status, provider, coalesce(data->'reason'->>'code', data->>'why', '') AS detail, at,
    greatest(0, extract(epoch FROM at - created_at))::float8 AS seconds
  FROM told WHERE kind IN ('ready', 'done', 'failed', 'cancelled', 'stopped')
  UNION ALL
  SELECT 'hub', CASE kind WHEN 'ready' THEN 'success' WHEN 'failed' THEN 'failure' ELSE 'retry' END, provider, retries::text, at,
    greatest(0, extract(epoch FROM at - asked_at))::float8
  FROM told WHERE kind IN ('ready', 'failed', 'retrying') AND asked_at IS NOT NULL AND (joined_at IS NULL OR joined_at <= asked_at)
  UNION ALL
  SELECT 'wait', CASE kind WHEN 'built' THEN 'success' ELSE 'failure' END, provider, '', at,
    greatest(0, extract(epoch FROM at - joined_at))::float8
  FROM told WHERE kind IN ('built', 'failed') AND joined_at IS NOT NULL AND (asked_at IS NULL OR asked_at < joined_at)
  UNION ALL
  SELECT 'step', s.state, '', '', told.at, sum(greatest(0, s.seconds))
  FROM told CROSS JOIN LATERAL (
    SELECT e.state, extract(epoch FROM lead(e.at) OVER (ORDER BY e.seq) - e.at)::float8 AS seconds
    FROM event e WHERE e.launch = told.launch AND e.seq <= told.seq) s
  WHERE told.kind IN ('ready', 'done', 'failed', 'cancelled') AND s.seconds IS NOT NULL
  GROUP BY told.launch, told.seq, told.at, s.state
), added AS ({_ADD}), last AS (
  SELECT xact, launch, seq, (SELECT count(*) FROM fresh) AS n FROM fresh ORDER BY xact DESC, launch DESC, seq DESC LIMIT 1
)
UPDATE outlet o SET xact = last.xact, launch = last.launch, seq = last.seq, sent = o.sent + last.n FROM last
WHERE o.name = :name RETURNING last.n
""")  # noqa: S608

_BUILD = sa.text(f"""
WITH b AS (SELECT * FROM build WHERE id = :id), marks AS (
  SELECT 'queued' AS state, extract(epoch FROM created_at)::float8 AS at FROM b
  UNION ALL SELECT key, value::float8 FROM b, jsonb_each_text(b.marks)
), steps AS (SELECT state, lead(at) OVER (ORDER BY at) - at AS seconds FROM marks), counted AS (
  SELECT 'build' AS measure, state AS status, provider, coalesce(reason->>'code', '') AS detail, ended_at AS at,
    greatest(0, extract(epoch FROM ended_at - coalesce(started_at, created_at)))::float8 AS seconds FROM b
  UNION ALL SELECT 'build_step', s.state, '', '', now(), greatest(0, s.seconds) FROM steps s WHERE s.seconds IS NOT NULL
) {_ADD}
""")  # noqa: S608
_EXPIRE = sa.text(f"DELETE FROM tally WHERE at > '-infinity' AND at < now() - interval '{_KEPT}'")  # noqa: S608


async def count_build(conn: AsyncConnection, build: str) -> None:
    """Count a build, in the transaction that has just ended it."""
    await conn.execute(_BUILD, {"id": build, "bounds": list(BOUNDS)})


class Counting:
    """Counts launches, for whichever process has the cursor `tally`."""

    def __init__(self, db: Database, owner: str) -> None:
        self._db = db
        self._cursor = Cursor(db, "tally", owner, from_now=False)
        self.ours = False  # whether this process was the one that counts, when it last looked

    async def count(self) -> int | None:
        """Count what is new, `MOST` events at most; how many there were, or None while another process counts."""

        async def work(conn: AsyncConnection) -> int:
            place = await self._cursor.hold(conn)
            if place is None:
                return 0
            found = (await conn.execute(_LAUNCHES, {
                "xact": place.xact, "launch": place.launch, "seq": place.seq, "most": MOST, "name": self._cursor.name,
                "bounds": list(BOUNDS),
            })).one_or_none()
            return int(found.n) if found else 0

        self.ours = await self._cursor.take() is not None
        return await self._db.run(work) if self.ours else None

    async def expire(self) -> None:
        """Forget the minutes of yesterday; totals stay."""
        await self._db.rows(_EXPIRE)

    async def aclose(self) -> None:
        """Let another process count at once."""
        if self.ours:
            await self._cursor.give_back()
