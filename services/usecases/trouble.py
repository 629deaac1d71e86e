"""What fails most, for whoever has to do something about it."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from services.db import Database


async def failures(db: Database, hours: float = 24.0, most: int = 8) -> list[Mapping[str, Any]]:
    """The most frequent failures of the last hours: code, an example of the sentence, repository of that example, number."""
    rows = await db.rows(sa.text("""
        SELECT reason->>'code' AS code, max(reason->>'message') AS message, max(provider || ': ' || repo) AS example,
          count(*) AS number, max(ended_at) AS last_at
        FROM launch WHERE state = 'failed' AND created_at > now() - :hours * interval '1 hour'
        GROUP BY 1 ORDER BY number DESC LIMIT :most
    """), {"hours": hours, "most": most})
    return [dict(row._mapping) for row in rows]
