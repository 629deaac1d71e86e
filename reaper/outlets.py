"""Publishing events: each sink has a cursor over the events, so a crash of anything loses none.

A batch that was taken just before a crash is sent again: once at least, not exactly. While a sink takes nothing, the same batch
is tried again with longer and longer pauses, and what waits stays in the table; when it is more than `events.queue`, or older than
half the time that launches are kept, the oldest are dropped, which is counted and logged. """

import asyncio
from typing import Any

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from services.db import Database
from services.errors import DockyardError, Unreachable
from services.events.cursor import FRESH, Cursor, Place
from services.events.published import bodies
from services.events.sinks import Sink
from services.settings import EventSettings

log = structlog.get_logger()
_MOST = 100  # events of a batch
_IDLE = 1.0  # seconds between looks
_FIRST, _LONGEST = 1.0, 300.0  # seconds of the first and of the longest pause after a failure

_ROWS = sa.text(f"""
    WITH fresh AS MATERIALIZED ({FRESH})
    SELECT f.*, l.provider, l.spec, l.repo, l.ref, l.resolved_ref, l.repo_url, l.build, l.build_only, l.origin, l.launch_host,
      l.build_token
    FROM fresh f LEFT JOIN LATERAL (SELECT * FROM launch WHERE id = f.launch OFFSET 0) l ON true ORDER BY f.xact, f.launch, f.seq
""")  # noqa: S608
_WAITING = sa.text(f"""
    WITH fresh AS MATERIALIZED ({FRESH})
    SELECT count(*) AS n, count(*) FILTER (WHERE at < now() - :age * interval '1 day') AS old FROM fresh
""")  # noqa: S608
_NTH = sa.text(f"""
    WITH fresh AS MATERIALIZED ({FRESH}) SELECT xact, launch, seq FROM fresh ORDER BY xact DESC, launch DESC, seq DESC LIMIT 1
""")  # noqa: S608


class OutletNumbers:
    """What this process has published; the sum over all reapers is what all have."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter("dockyard_events_sent", "Events that a sink has taken", ["sink"], registry=registry)
        self.dropped = Counter("dockyard_events_dropped", "Events that no sink took and that are not kept", ["sink"], registry=registry)
        self.failures = Counter("dockyard_events_failures", "Batches that a sink did not take", ["sink"], registry=registry)
        self.waiting = Gauge("dockyard_events_waiting", "Events that a failing sink has still to take", ["sink"], registry=registry)


class Outlet:
    """Publishes to one sink, if no other process does."""

    def __init__(self, db: Database, sink: Sink, settings: EventSettings, owner: str, numbers: OutletNumbers, *, keep_days: float) -> None:
        self._db = db
        self._sink = sink
        self._settings = settings
        self._age = keep_days / 2
        self._numbers = numbers
        self._cursor = Cursor(db, f"events.{sink.name}", owner, from_now=True, lease=settings.timeout + 15)
        for counter in (numbers.sent, numbers.dropped, numbers.failures, numbers.waiting):
            counter.labels(sink.name)

    async def run(self) -> None:
        """Publish for ever."""
        pause = _FIRST
        while True:
            try:
                more = await self.turn()
            except Unreachable as error:  # the sink, or the database
                log.warning("events_not_sent", sink=self._sink.name, reason=error.sentence, seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST)
            except DockyardError as error:
                log.warning("events_not_read", sink=self._sink.name, reason=error.sentence)
                await asyncio.sleep(_LONGEST / 10)
            else:
                pause = _FIRST
                if not more:
                    await asyncio.sleep(_IDLE)

    async def turn(self) -> bool:
        """Publish one batch; whether there may be more. Raises `Unreachable` where the sink did not take it."""
        place = await self._cursor.take()
        if place is None:
            return False
        rows = await self._db.rows(_ROWS, {"xact": place.xact, "launch": place.launch, "seq": place.seq, "most": _MOST})
        if not rows:
            return False
        told = [body for row in rows if row.provider is not None for body in bodies(row._asdict(), list(self._settings.schemas))]
        if told:
            try:
                await self._sink.take(told)
            except Unreachable as error:
                self._numbers.failures.labels(self._sink.name).inc()
                await self._cursor.failed(error.sentence)
                await self._bound(place)
                raise
        last: Any = rows[-1]
        await self._cursor.advance(Place(last.xact, last.launch, last.seq), sent=len(told))
        self._numbers.sent.labels(self._sink.name).inc(len(told))
        self._numbers.waiting.labels(self._sink.name).set(0)
        return len(rows) == _MOST

    async def _bound(self, place: Place) -> None:
        """Drop the oldest of what is too much or too old, and say so."""
        where = {"xact": place.xact, "launch": place.launch, "seq": place.seq}
        row = (await self._db.rows(_WAITING, {**where, "most": 10 * self._settings.queue, "age": self._age}))[0]
        dropped = max(row.old, row.n - self._settings.queue)
        self._numbers.waiting.labels(self._sink.name).set(row.n - max(0, dropped))
        if dropped <= 0:
            return
        last = (await self._db.rows(_NTH, {**where, "most": dropped}))[0]
        if await self._cursor.advance(Place(last.xact, last.launch, last.seq), sent=0, dropped=dropped):
            self._numbers.dropped.labels(self._sink.name).inc(dropped)
            log.error("events_dropped", sink=self._sink.name, number=dropped)

    async def aclose(self) -> None:
        """Let another reaper go on at once."""
        await self._cursor.give_back()
        await self._sink.aclose()
