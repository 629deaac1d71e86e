"""The table of sweeps, and how one sweep runs in one reaper at a time.

A sweep is a function that looks at everything and mends what is wrong; it may be run again at any time. Each has a
row in `sweep` with a lease: whoever gets it when the sweep is due runs it, so any number of reapers (and of doubled messages)
are safe, and a reaper that died is replaced when its lease has run out. No transaction is open while a sweep runs: it may
wait for the hub for minutes, and an open transaction would hold up every reader of events and every vacuum.

A sweep that takes long is run less often: it rests for `_REST` times as long as it took, so that a slow hub or a big disk is
looked at for a tenth of the time at most. One that fails is tried again in seconds: a server that was lost while the hub did
not answer is not to wait for the next turn.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Summary

from services.db import Database
from services.errors import DockyardError
from services.tasks import end

log = structlog.get_logger()
Findings = Mapping[str, int]
Sweep = Callable[[], Awaitable[Findings]]

_LEASE = 20.0  # seconds
_REST = 9.0
_AGAIN = 2.0  # seconds after a failed run; twice as many after each further one
_DOUBLINGS = 10
_FULL = 10.0  # seconds after a run that has found no room, which keeps builds from beginning

_MAKE = sa.text("INSERT INTO sweep (name) VALUES (:name) ON CONFLICT DO NOTHING")
_TAKE = sa.text("""
    UPDATE sweep SET lease_owner = :owner, lease_until = now() + :lease * interval '1 second'
    WHERE name = :name AND (lease_until IS NULL OR lease_until < now())
      AND (last_at IS NULL OR last_at <= now() - greatest(:every, :rest * seconds) * interval '1 second')
    RETURNING name
""")
_KEEP = sa.text("""
    UPDATE sweep SET lease_until = now() + :lease * interval '1 second' WHERE name = :name AND lease_owner = :owner RETURNING name
""")
_DONE = sa.text("""
    UPDATE sweep SET last_at = now(), findings = CAST(:findings AS jsonb), seconds = :seconds, runs = runs + 1, error = '',
      lease_owner = NULL, lease_until = NULL,
      totals = totals || (SELECT coalesce(jsonb_object_agg(key, value::bigint + coalesce((totals->>key)::bigint, 0)), '{}')
        FROM jsonb_each_text(CAST(:findings AS jsonb)))
    WHERE name = :name AND lease_owner = :owner
""")
_GIVE = sa.text("UPDATE sweep SET lease_owner = NULL, lease_until = NULL, error = :error WHERE name = :name AND lease_owner = :owner")


class Sweeps:
    """Runs sweeps that are due; `registry` shows what they find."""

    def __init__(self, db: Database, table: Mapping[str, Sweep], registry: CollectorRegistry | None = None, owner: str = "") -> None:
        self._db = db
        self._table = table
        self._owner = owner or secrets.token_hex(8)
        self._failed_in_a_row: dict[str, int] = {}
        self._full: set[str] = set()
        self._seconds = Summary("dockyard_sweep_seconds", "How long sweeps took", ["sweep"], registry=registry)
        self._failures = Counter("dockyard_sweep_failures", "Sweeps that could not be finished", ["sweep"], registry=registry)
        self._findings = Counter("dockyard_sweep_findings", "What sweeps have found and mended", ["sweep", "what"], registry=registry)

    def soon(self, name: str) -> float:
        """Seconds until a sweep that has failed here, or found no room, may run again, well before its next turn; 0: it has not."""
        if failed := self._failed_in_a_row.get(name, 0):
            return _AGAIN * 2.0 ** (failed - 1)
        return _FULL if name in self._full else 0.0

    async def run(self, name: str, every: float) -> Findings | None:
        """Run one sweep if it is due and nobody else runs it; what it found, or None."""
        try:
            await self._db.rows(_MAKE, {"name": name})
            taken = {"name": name, "owner": self._owner, "lease": _LEASE, "every": every, "rest": _REST if every else 0.0}
            if not await self._db.rows(_TAKE, taken):
                self._failed_in_a_row.pop(name, None)  # somebody else has done it, or does
                self._full.discard(name)
                return None
            return await self._held(name)
        except (DockyardError, sa.exc.DBAPIError, OSError) as error:
            self._failed(name, error)
            return None

    async def _held(self, name: str) -> Findings | None:
        started = time.monotonic()
        working = asyncio.ensure_future(self._table[name]())
        keeping = asyncio.create_task(self._keep(name))
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                log.info("sweep_lost", sweep=name)  # Another reaper has it: this one slept, or could not reach the database.
                return None
            findings = working.result()
        except (DockyardError, sa.exc.DBAPIError, OSError) as error:
            await self._give(name, _words(error))
            self._failed(name, error)
            return None
        except BaseException:
            await self._give(name, "It was interrupted.")
            raise
        finally:
            await end(working, keeping)
        return await self._done(name, findings, time.monotonic() - started)

    async def _keep(self, name: str) -> None:
        """Renew the lease; returns when it is somebody else's."""
        while True:
            await asyncio.sleep(_LEASE / 4)
            try:
                if not await self._db.rows(_KEEP, {"name": name, "owner": self._owner, "lease": _LEASE}):
                    return
            except DockyardError:
                return

    async def _give(self, name: str, why: str) -> None:
        try:
            async with asyncio.timeout(2):
                await self._db.rows(_GIVE, {"name": name, "owner": self._owner, "error": why})
        except (DockyardError, sa.exc.DBAPIError, OSError, TimeoutError) as error:
            log.info("sweep_not_given_back", sweep=name, reason=str(error))

    async def _done(self, name: str, findings: Findings, seconds: float) -> Findings:
        self._seconds.labels(name).observe(seconds)
        for what, number in findings.items():
            self._findings.labels(name, what).inc(max(0, number))
        await self._db.rows(_DONE, {
            "name": name, "owner": self._owner, "findings": json.dumps(dict(findings)), "seconds": seconds})
        self._failed_in_a_row.pop(name, None)
        (self._full.add if findings.get("full") else self._full.discard)(name)
        if any(findings.values()):
            log.info("sweep_found", sweep=name, seconds=round(seconds, 3), **findings)
        return findings

    def _failed(self, name: str, error: BaseException) -> None:
        self._failures.labels(name).inc()
        self._failed_in_a_row[name] = min(self._failed_in_a_row.get(name, 0) + 1, _DOUBLINGS)
        log.warning("sweep_failed", sweep=name, reason=_words(error))


def _words(error: BaseException) -> str:
    return str(getattr(error, "sentence", type(error).__name__))
