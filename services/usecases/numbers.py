"""How much there is of everything under way, and how it has been: for the ops page and Prometheus.

Counted over partial indexes, so that it costs what is under way and not what has ever been. A launch *waits* while nobody works
on it: before it is looked up, while its build is queued, before the hub is asked. """

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.db import Database

KEPT = 25  # hours of samples
_NOW = sa.text("""
    WITH waits AS MATERIALIZED (
      SELECT id, created_at, repo, provider, 'to be looked up' AS what FROM launch WHERE state IN ('waiting', 'resolving')
      UNION ALL
      SELECT l.id, l.created_at, l.repo, l.provider, 'for a builder' FROM launch l JOIN build b ON b.id = l.build
      WHERE l.state = 'building' AND b.state = 'queued'
      UNION ALL
      SELECT id, created_at, repo, provider, 'for the hub' FROM launch WHERE state = 'launching' AND lease_owner IS NULL
    ), oldest AS (SELECT * FROM waits ORDER BY created_at LIMIT 1), builds AS (
      SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state <> 'queued') AS building,
        min(created_at) FILTER (WHERE state = 'queued') AS oldest
      FROM build WHERE state IN ('queued', 'fetching', 'building', 'pushing')
    )
    SELECT (SELECT count(*) FROM waits) AS waiting, (SELECT count(*) FROM waits WHERE what = 'to be looked up') AS unresolved,
      (SELECT count(*) FROM waits WHERE what = 'for the hub') AS unstarted,
      (SELECT count(*) FROM launch WHERE state = 'building') AS building,
      (SELECT count(*) FROM launch WHERE state = 'launching') AS launching, (SELECT count(*) FROM launch WHERE state = 'ready') AS running,
      (SELECT count(*) FROM launch WHERE state = 'stopping') AS stopping,
      builds.queued AS builds_queued, builds.building AS builds_running,
      coalesce(extract(epoch FROM now() - builds.oldest), 0)::float8 AS oldest_build,
      coalesce(extract(epoch FROM now() - (SELECT min(created_at) FROM launch
        WHERE state IN ('waiting', 'resolving', 'building', 'launching'))), 0)::float8 AS oldest_open,
      coalesce(extract(epoch FROM now() - oldest.created_at), 0)::float8 AS oldest_wait,
      oldest.id AS oldest_id, oldest.repo AS oldest_repo, oldest.provider AS oldest_provider, oldest.what AS oldest_what,
      oldest.created_at AS oldest_at
    FROM builds LEFT JOIN oldest ON true
""")
_KEEP = sa.text(f"""
    WITH old AS (DELETE FROM sample WHERE at < now() - interval '{KEPT} hours')
    INSERT INTO sample (at, numbers) VALUES (date_trunc('second', now()), CAST(:numbers AS jsonb)) ON CONFLICT DO NOTHING
""")  # noqa: S608
_SAMPLES = sa.text("""
    SELECT floor(extract(epoch FROM now() - at) / :width)::int AS ago, max((numbers->>'waiting')::float8) AS waiting,
      max((numbers->>'oldest_wait')::float8) AS oldest_wait, max((numbers->>'building')::float8) AS building,
      max((numbers->>'launching')::float8) AS launching, max((numbers->>'running')::float8) AS running
    FROM sample WHERE at > now() - :span * interval '1 second' GROUP BY 1
""")
_OUTCOMES = sa.text("""
    SELECT floor(extract(epoch FROM now() - at) / :width)::int AS ago,
      sum(number) FILTER (WHERE status IN ('ready', 'done'))::float8 AS good, sum(number) FILTER (WHERE status = 'failed')::float8 AS bad
    FROM tally WHERE measure = 'outcome' AND at > now() - :span * interval '1 second' GROUP BY 1
""")
_TOTALS = sa.text("""
    SELECT measure, status, provider, detail, bucket, number, seconds FROM tally WHERE at = '-infinity' ORDER BY 1, 2, 3, 4, 5
""")
_LEASES = sa.text("""
    SELECT owner, work, count(*)::int AS held, (count(*) FILTER (WHERE left_ < 0))::int AS expired, min(left_)::float8 AS left,
      max(age)::float8 AS age FROM (
      SELECT lease_owner AS owner, 'launches' AS work, extract(epoch FROM lease_until - now()) AS left_,
        extract(epoch FROM now() - created_at) AS age
      FROM launch WHERE lease_owner IS NOT NULL AND state IN ('waiting', 'resolving')
      UNION ALL
      SELECT lease_owner, 'servers', extract(epoch FROM lease_until - now()), extract(epoch FROM now() - state_at)
      FROM launch WHERE lease_owner IS NOT NULL AND (state IN ('launching', 'stopping') OR (state = 'ready' AND target = 'stopped'))
      UNION ALL
      SELECT lease_owner, 'builds', extract(epoch FROM lease_until - now()), extract(epoch FROM now() - coalesce(started_at, created_at))
      FROM build WHERE lease_owner IS NOT NULL AND state IN ('queued', 'fetching', 'building', 'pushing')
    ) held GROUP BY 1, 2 ORDER BY 1, 2
""")
_PROCESSES = sa.text("""
    SELECT owner, name, host, version, started_at, seen_at, extract(epoch FROM now() - seen_at)::float8 AS silent, facts
    FROM process ORDER BY name, started_at
""").columns(facts=sa.JSON)
_OUTLETS = sa.text("""
    SELECT name, sent, dropped, failing_since, extract(epoch FROM now() - failing_since)::float8 AS failing, error
    FROM outlet WHERE name LIKE 'events.%' ORDER BY name
""")


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is under way at one moment; ages in seconds."""

    waiting: int
    unresolved: int
    unstarted: int
    building: int
    launching: int
    running: int
    stopping: int
    builds_queued: int
    builds_running: int
    oldest_build: float  # of the builds that nobody works on
    oldest_open: float  # of the launches that are not ready
    oldest_wait: float
    oldest_id: str | None = None
    oldest_repo: str | None = None
    oldest_provider: str | None = None
    oldest_what: str | None = None
    oldest_at: datetime | None = None


async def now(db: Database) -> Numbers:
    """What is under way now."""
    return Numbers(**(await db.rows(_NOW))[0]._asdict())


async def keep(db: Database, numbers: Numbers) -> None:
    """Keep a sample for the curves."""
    kept = {key: value for key, value in asdict(numbers).items() if isinstance(value, (int, float))}
    await db.rows(_KEEP, {"numbers": json.dumps(kept)})


async def curves(db: Database, span: float, points: int) -> dict[str, list[float | None]]:
    """The last `span` seconds in so many steps, oldest first; the largest sample of each step, None where there is none.

    `good` and `bad` are launches per step.
    """
    found: dict[str, list[float | None]] = {
        name: [None] * points for name in ("waiting", "oldest_wait", "building", "launching", "running")}
    counts: dict[str, list[float | None]] = {name: [0.0] * points for name in ("good", "bad")}
    where = {"width": span / points, "span": span}
    for statement, into in ((_SAMPLES, found), (_OUTCOMES, counts)):
        for row in await db.rows(statement, where):
            if 0 <= row.ago < points:
                for name, values in into.items():
                    values[points - 1 - row.ago] = getattr(row, name) if into is found else getattr(row, name) or 0.0
    return found | counts


async def totals(db: Database) -> list[sa.Row[Any]]:
    """The counts since ever: see `services.lifecycle.tally`."""
    return await db.rows(_TOTALS)


async def leases(db: Database) -> list[sa.Row[Any]]:
    """Who holds how many rows of what, for how long still, and how old the oldest of them is."""
    return await db.rows(_LEASES)


async def processes(db: Database) -> list[Mapping[str, Any]]:
    """The roll of processes; `silent` is how long ago each was last heard of."""
    return [row._asdict() for row in await db.rows(_PROCESSES)]


async def outlets(db: Database) -> list[sa.Row[Any]]:
    """Where events are published to, and how it goes."""
    return await db.rows(_OUTLETS)
