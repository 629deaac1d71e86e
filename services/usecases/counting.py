"""What the limits count, from the rows themselves: in the transaction that accepts, behind a lock that all api processes share.

Counting and writing under one lock is what makes limits exact however many api processes there are. It is held for one batch, a few
milliseconds, and while one process has it the others gather larger batches; so it costs latency of a commit, not throughput. Each
count goes by an index that holds just what it counts.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database
from services.policy.bounds import Bounds, Counts, Refusal, Request

_OPEN = "state IN ('waiting', 'resolving', 'building', 'launching')"
_HELD = "state IN ('ready', 'stopping')"
_LIVE = "state IN ('waiting', 'resolving', 'building', 'launching', 'ready', 'stopping')"
LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('dockyard accept'))")
_METER = sa.text("""
    INSERT INTO meter (key, seconds, began, n)
    SELECT key, seconds, now(), n FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(key text, seconds int, n int) ORDER BY key, seconds
    ON CONFLICT (key, seconds) DO UPDATE SET
      n = CASE WHEN meter.began + meter.seconds * interval '1 second' <= now() THEN excluded.n ELSE meter.n + excluded.n END,
      began = CASE WHEN meter.began + meter.seconds * interval '1 second' <= now() THEN excluded.began ELSE meter.began END
""")


class Counting:
    """Counts for one process. `bounds` says what is worth counting."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._statements: dict[bool, sa.TextClause] = {}

    @property
    def needed(self) -> bool:
        """Whether there is a limit at all, beside those of single repositories."""
        bounds = self._bounds
        return any((bounds.open_per_client, bounds.open_per_network, bounds.open_total, bounds.holds_servers, bounds.rates))

    async def counts(self, conn: AsyncConnection, requests: Sequence[Request], keys: Iterable[str]) -> Counts:
        """What there is of whatever these requests are bound by; `keys` are their meters."""
        repositories = {request.repository for request in requests if request.quota and request.repository}
        parameters = {
            "clients": sorted({request.client for request in requests}), "networks": sorted({request.network for request in requests}),
            "repositories": sorted(repositories), "keys": sorted(set(keys)),
        }
        statement = self._statement(bool(repositories))
        known = {key: value for key, value in parameters.items() if f":{key}" in statement.text}
        found = Counts()
        for what, first, second, n, left in (await conn.execute(statement, known)).all():
            if what == "total":
                found.open = n
            elif what == "rate":
                found.rates[(first, int(second))] = (n, min(float(second), left))
            elif what == "repository":
                found.live_of[f"repository {first}"] += n
            else:
                for key in (f"network {first}", f"client {second}"):
                    found.live_of[key] += n
                    if what == "open":
                        found.open_of[key] += n
        return found

    def _statement(self, repositories: bool) -> sa.TextClause:
        if repositories not in self._statements:
            self._statements[repositories] = sa.text(" UNION ALL ".join(self._parts(repositories)))
        return self._statements[repositories]

    def _parts(self, repositories: bool) -> list[str]:
        bounds, parts = self._bounds, ["SELECT '' AS what, '' AS first, '' AS second, 0 AS n, 0::float8 AS left_ WHERE false"]

        def those(state: str, networks: int) -> str:
            mine = "" if networks else "AND client = ANY(CAST(:clients AS text[]))"
            return f"FROM launch WHERE {state} AND network = ANY(CAST(:networks AS text[])) {mine} GROUP BY network, client"

        if bounds.open_total:
            parts.append(f"SELECT 'total', '', '', count(*), 0 FROM launch WHERE {_OPEN}")  # noqa: S608 - constants
        if bounds.open_per_client or bounds.open_per_network or bounds.holds_servers:
            whole = bounds.open_per_network or bounds.servers_per_network
            parts.append(f"SELECT 'open', network, client, count(*), 0 {those(_OPEN, whole)}")
        if bounds.holds_servers:
            parts.append(f"SELECT 'held', network, client, count(*), 0 {those(_HELD, bounds.servers_per_network)}")
        if repositories:
            parts.append(f"""SELECT 'repository', repository, '', count(*), 0 FROM launch
                WHERE {_LIVE} AND repository = ANY(CAST(:repositories AS text[])) GROUP BY repository""")  # noqa: S608
        if bounds.rates:
            parts.append("""SELECT 'rate', key, seconds::text, n, extract(epoch FROM began + seconds * interval '1 second' - now())::float8
                FROM meter WHERE key = ANY(CAST(:keys AS text[])) AND began + seconds * interval '1 second' > now()""")
        return parts

    async def meter(self, conn: AsyncConnection, spent: Mapping[tuple[str, int], int]) -> None:
        """Add to the meters what has been accepted."""
        if not spent:
            return
        rows = [{"key": key, "seconds": seconds, "n": n} for (key, seconds), n in spent.items()]
        await conn.execute(_METER, {"rows": json.dumps(rows)})


_ENDS = """
    SELECT extract(epoch FROM min(s.ends_at) - now())::float8 AS left_
    FROM launch l JOIN server s ON s.launch = l.id AND s.state <> 'stopped' WHERE {} = :value AND l.{}
"""
_COLUMN = {"servers_per_repository": "l.repository", "servers_per_client": "l.client", "servers_per_network": "l.network"}
_READY = sa.text("SELECT count(*) AS n FROM launch WHERE state = 'ready' AND ready_at > now() - interval '1 minute'")
_REMEMBERED = 5.0  # seconds
_UNKNOWN = 5.0  # seconds for each, where nothing has got ready lately
_FULL = 300.0  # seconds at most until another try, however long the queue


class Waits:
    """When the next of those servers ends that take somebody's places, as far as the reaper has said. Asked for refusals only."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[tuple[str, str], tuple[float, int]] = {}
        self._each, self._looked, self._next = 0.0, -_REMEMBERED, 0.0

    async def _turn(self) -> int:
        """Where the queue is full: when a place is free for this one, if launches get ready as they did in the last minute.

        Each one that is refused is told a later moment, or all would come back at the same.
        """
        now = time.monotonic()
        if now - self._looked >= _REMEMBERED:
            ready = (await self._db.rows(_READY))[0].n
            self._each, self._looked = (60.0 / ready if ready else _UNKNOWN), now
        self._next = min(max(self._next, now) + self._each, now + _FULL)
        return max(1, math.ceil(self._next - now))

    async def of(self, refusal: Refusal, request: Request) -> int:
        """Seconds until another try makes sense."""
        if refusal.limit == "open_total":
            return await self._turn()
        if not refusal.guess:
            return refusal.retry_after
        column = _COLUMN[refusal.limit]
        value = str(getattr(request, column.removeprefix("l.")))
        now = time.monotonic()
        at, seconds = self._known.get((column, value), (-_REMEMBERED, 0))
        if now - at >= _REMEMBERED:
            # By network too, which is what the index of held launches begins with.
            where = f"l.network = :network AND {column}" if column == "l.client" else column
            parameters = {"value": value, **({"network": request.network} if column == "l.client" else {})}
            (row,) = await self._db.rows(sa.text(_ENDS.format(where, _LIVE if column == "l.repository" else _HELD)), parameters)
            seconds = refusal.retry_after if row.left_ is None else min(600, max(5, math.ceil(row.left_)))
            if len(self._known) > 1000:
                self._known.clear()
            self._known[(column, value)] = (now, seconds)
        return max(1, seconds - int(now - at)) if now - at < _REMEMBERED else seconds
