"""The table of sweeps, and how one sweep runs in one reaper at a time.

A sweep is a function that looks at everything and mends what is wrong; it may be run again at any time. Each has a
row in `sweep`: whoever gets its lock and finds it due runs it, so any number of reapers (and of doubled messages) are
safe. The lock is an advisory one: a row's would give the transaction a number, and all readers of events (see
`services.events.cursor`) would wait for the end of the sweep. """

import json
import time
from collections.abc import Awaitable, Callable, Mapping

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Summary
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database
from services.errors import DockyardError

log = structlog.get_logger()
Findings = Mapping[str, int]

_MAKE = sa.text("INSERT INTO sweep (name) VALUES (:name) ON CONFLICT DO NOTHING")
_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('dockyard sweep'), hashtext(:name))")
_DUE = sa.text("SELECT name FROM sweep WHERE name = :name AND (last_at IS NULL OR last_at <= now() - :every * interval '1 second')")
_DONE = sa.text("UPDATE sweep SET last_at = now(), findings = CAST(:findings AS jsonb) WHERE name = :name")


class Sweeps:
    """Runs sweeps that are due; `registry` shows what they find."""

    def __init__(
        self, db: Database, table: Mapping[str, Callable[[], Awaitable[Findings]]], registry: CollectorRegistry | None = None,
    ) -> None:
        self._db = db
        self._table = table
        self._seconds = Summary("dockyard_sweep_seconds", "How long sweeps took", ["sweep"], registry=registry)
        self._failures = Counter("dockyard_sweep_failures", "Sweeps that could not be finished", ["sweep"], registry=registry)
        self._findings = Counter("dockyard_sweep_findings", "What sweeps have found and mended", ["sweep", "what"], registry=registry)

    async def run(self, name: str, every: float) -> Findings | None:
        """Run one sweep if it is due and nobody else runs it; what it found, or None."""
        try:
            await self._db.rows(_MAKE, {"name": name})
            # The lock is held by an open transaction while the sweep works on other connections.
            async with self._db.engine.begin() as conn:
                return await self._locked(conn, name, every)
        except (DockyardError, sa.exc.DBAPIError, OSError) as error:
            self._failures.labels(name).inc()
            log.warning("sweep_failed", sweep=name, reason=getattr(error, "sentence", type(error).__name__))
            return None

    async def _locked(self, conn: AsyncConnection, name: str, every: float) -> Findings | None:
        if not await conn.scalar(_LOCK, {"name": name}) or (await conn.execute(_DUE, {"name": name, "every": every})).one_or_none() is None:
            return None
        started = time.monotonic()
        findings = await self._table[name]()
        self._seconds.labels(name).observe(time.monotonic() - started)
        for what, number in findings.items():
            self._findings.labels(name, what).inc(max(0, number))
        await conn.execute(_DONE, {"name": name, "findings": json.dumps(dict(findings))})
        if any(findings.values()):
            log.info("sweep_found", sweep=name, seconds=round(time.monotonic() - started, 3), **findings)
        return findings
