"""The table of sweeps, and how one sweep runs in one reaper at a time.

A sweep is a function that looks at everything and mends what is wrong; it may be run again at any time. Each has a
row in `sweep`: whoever gets its lock and finds it due runs it, so any number of reapers (and of doubled messages) are
safe. """

import json
import time
from collections.abc import Awaitable, Callable, Mapping

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database
from services.errors import DockyardError

log = structlog.get_logger()
Findings = Mapping[str, int]

_MAKE = sa.text("INSERT INTO sweep (name) VALUES (:name) ON CONFLICT DO NOTHING")
_LOCK = sa.text("""
    SELECT name FROM sweep WHERE name = :name AND (last_at IS NULL OR last_at <= now() - :every * interval '1 second')
    FOR UPDATE SKIP LOCKED
""")
_DONE = sa.text("UPDATE sweep SET last_at = now(), findings = CAST(:findings AS jsonb) WHERE name = :name")


class Sweeps:
    """Runs sweeps that are due."""

    def __init__(self, db: Database, table: Mapping[str, Callable[[], Awaitable[Findings]]]) -> None:
        self._db = db
        self._table = table

    async def run(self, name: str, every: float) -> Findings | None:
        """Run one sweep if it is due and nobody else runs it; what it found, or None."""
        try:
            await self._db.rows(_MAKE, {"name": name})
            # The lock is held by an open transaction while the sweep works on other connections.
            async with self._db.engine.begin() as conn:
                return await self._locked(conn, name, every)
        except (DockyardError, sa.exc.DBAPIError, OSError) as error:
            log.warning("sweep_failed", sweep=name, reason=getattr(error, "sentence", type(error).__name__))
            return None

    async def _locked(self, conn: AsyncConnection, name: str, every: float) -> Findings | None:
        if (await conn.execute(_LOCK, {"name": name, "every": every})).one_or_none() is None:
            return None
        started = time.monotonic()
        findings = await self._table[name]()
        await conn.execute(_DONE, {"name": name, "findings": json.dumps(dict(findings))})
        if any(findings.values()):
            log.info("sweep_found", sweep=name, seconds=round(time.monotonic() - started, 3), **findings)
        return findings
