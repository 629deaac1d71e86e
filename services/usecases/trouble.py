"""What fails most, for whoever has to do something about it: by reason, by repository, by provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.db import Database

# One look at the failures, grouped three ways. The message of a group is that of its newest failure.
_FAILURES = sa.text("""
    WITH failed AS MATERIALIZED (
      SELECT coalesce(reason->>'code', 'unknown') AS code, coalesce(reason->>'message', '') AS message, provider, repo, ended_at
      FROM launch WHERE state = 'failed' AND ended_at > now() - :hours * interval '1 hour'
      ORDER BY ended_at DESC LIMIT 50000
    ), grouped AS (
      SELECT CASE GROUPING(code, repo, provider) WHEN 3 THEN 'reason' WHEN 4 THEN 'repository' ELSE 'provider' END AS by,
        coalesce(code, CASE WHEN repo IS NOT NULL THEN provider || ': ' || repo ELSE provider END) AS name, count(*)::int AS number,
        max(ended_at) AS last_at, (array_agg(message ORDER BY ended_at DESC))[1] AS message,
        (array_agg(provider || ': ' || repo ORDER BY ended_at DESC))[1] AS example
      FROM failed GROUP BY GROUPING SETS ((code), (provider, repo), (provider))
    ), ranked AS (SELECT *, row_number() OVER (PARTITION BY by ORDER BY number DESC, last_at DESC) AS rank FROM grouped)
    SELECT by, name, number, last_at, message, example, (SELECT count(*) FROM failed)::int AS total FROM ranked
    WHERE rank <= :most ORDER BY by, rank
""")


@dataclass(frozen=True, slots=True)
class Group:
    """Failures that have something in common."""

    name: str
    number: int
    last_at: datetime
    message: str  # of the newest one
    example: str  # its provider and repository


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of the last hours."""

    total: int
    groups: Mapping[str, list[Group]]  # by reason, repository and provider; the most frequent first


async def failures(db: Database, hours: float = 24.0, most: int = 6) -> Failures:
    """The most frequent failures of the last hours."""
    rows: list[sa.Row[Any]] = await db.rows(_FAILURES, {"hours": hours, "most": most})
    groups: dict[str, list[Group]] = {"reason": [], "repository": [], "provider": []}
    for row in rows:
        groups[row.by].append(Group(row.name, row.number, row.last_at, row.message, row.example))
    return Failures(rows[0].total if rows else 0, groups)
