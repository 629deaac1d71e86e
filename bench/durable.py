"""What the database says after a bench: a `ready` that no row stands for is worth nothing."""

from collections.abc import Sequence

import asyncpg

from bench.report import Report

_READY = """
SELECT count(*) FILTER (WHERE l.id IS NULL) AS missing, count(*) FILTER (WHERE l.state <> 'ready') AS other
FROM unnest($1::text[]) AS seen(id) LEFT JOIN launch l USING (id)
"""
_STORY = """
SELECT count(*) FROM launch l LEFT JOIN LATERAL (
  SELECT count(*) AS n, max(seq) AS last, (array_agg(kind ORDER BY seq DESC))[1] AS kind FROM event WHERE
  launch = l.id
) e ON true
WHERE l.id = ANY($1::text[]) AND (e.n <> l.seq OR e.last <> l.seq OR e.kind <> 'ready')
"""
_SERVERS = """
SELECT count(*) FROM unnest($1::text[]) AS seen(id)
WHERE (SELECT count(*) FROM server s WHERE s.launch = seen.id AND s.state = 'running') <> 1
"""


async def check_launches(url: str, launches: Sequence[str], streams: int, report: Report) -> None:
    """Check that each stream's launch is a row that is ready, has its whole story, and one server."""
    connection = await asyncpg.connect(url)
    try:
        settings = {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
        found = await connection.fetchrow(_READY, launches)
        broken = await connection.fetchval(_STORY, launches)
        servers = await connection.fetchval(_SERVERS, launches)
    finally:
        await connection.close()
    report.check(f"commits are durable ({settings})", settings == {"fsync": "on", "synchronous_commit": "on"})
    report.check(f"{streams:,} streams were {len(set(launches)):,} launches", streams == len(set(launches)))
    report.check(
        f"every launch is a row in `ready` ({found['missing']} missing, {found['other']} in another state)",
        not found["missing"] and not found["other"],
    )
    report.check(f"every row has all its events, the last one `ready` ({broken} do not)", not broken)
    report.check(f"every launch has one running server ({servers} do not)", not servers)
