"""What is old goes: ended launches with their events, ended builds with their logs, servers long stopped."""

import sqlalchemy as sa

from reaper.sweeps import Findings
from services.db import Database
from services.settings import ReaperSettings

_MOST = 2000  # rows of one statement, so that none holds its locks for long
_LAUNCHES = sa.text("""
    WITH old AS (SELECT id FROM launch WHERE ended_at < now() - :days * interval '1 day' ORDER BY ended_at LIMIT :most),
    told AS (DELETE FROM event USING old WHERE event.launch = old.id),
    served AS (DELETE FROM server USING old WHERE server.launch = old.id AND server.state = 'stopped')
    DELETE FROM launch USING old WHERE launch.id = old.id RETURNING launch.id
""")
_BUILDS = sa.text("""
    WITH old AS (
      SELECT id FROM build b WHERE ended_at < now() - :days * interval '1 day'
        AND NOT EXISTS (SELECT FROM launch WHERE launch.build = b.id) ORDER BY ended_at LIMIT :most),
    logged AS (DELETE FROM log_chunk USING old WHERE log_chunk.build = old.id)
    DELETE FROM build USING old WHERE build.id = old.id RETURNING build.id
""")


async def expire(db: Database, settings: ReaperSettings) -> Findings:
    """Delete what ended more than `reaper.keep_days` ago."""
    parameters = {"days": settings.keep_days, "most": _MOST}
    launches = await db.rows(_LAUNCHES, parameters)
    builds = await db.rows(_BUILDS, parameters)
    return {"launches": len(launches), "builds": len(builds)}
