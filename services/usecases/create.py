"""Accepting a launch: one durable row with its first events, in a statement shared by everybody who asks at the same
moment.

Where the commit is known already and its image too, the launch begins in `launching`: nothing has to be resolved or
built, and the worker is not troubled. What the limits leave is counted in the same transaction (see `counting`), so that a flood
cannot slip through between a look and a write, whichever of many api processes it comes to. """

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Batch, Database
from services.errors import KeyReused, Overloaded
from services.events import Kind, StoredEvent
from services.policy.bounds import Bounds, Rate, Refusal, Request, judge, meters
from services.policy.networks import network_of
from services.providers.base import Resolved, Spec
from services.providers.layout import WHOLE, Layout
from services.queue import BUILDS, LAUNCHES, Bell
from services.states import LaunchState
from services.usecases.counting import LOCK, Counting, Waits


@dataclass(frozen=True, slots=True)
class NewLaunch:
    """A launch that somebody asks for, under an id that its maker has chosen. `caller` scopes idempotency keys;
    `client` is the address that limits count, for itself and as part of its network.
    """

    id: str
    spec: Spec
    caller: str
    client: str
    origin: str = ""
    launch_host: str = ""  # address of the front door as the client sees it: BinderHub's binder_launch_host
    options: Mapping[str, Any] = field(default_factory=dict)
    build_only: bool = False
    rebuild: bool = False
    idempotency_key: str = ""
    repository: str = ""  # its one name, by which it is bounded
    quota: int = 0  # launches and servers that the repository may have; 0: no limit
    counted: bool = True  # against the rates of its client
    trusted: bool = False  # an admin's, bound by the limits in all alone
    layout: Layout = WHOLE
    resolved: Resolved | None = None  # where all specs are pinned: no request is needed
    environment_source: Mapping[str, str] | None = None  # as `resolved`, of the environment's repository
    image: str = ""  # name of the image of `resolved`


@dataclass(frozen=True, slots=True)
class Created:
    """The launch as it was accepted. `repeated`: an earlier request with the same idempotency key made it."""

    id: str
    state: LaunchState
    events: tuple[StoredEvent, ...]
    repeated: bool = False
    rate: Rate | None = None  # what is left of the client's, where rates are bounded


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one request of a batch: written, refused, or made before."""

    made: sa.Row[Any] | None = None
    refusal: Refusal | None = None
    rate: Rate | None = None
    earlier: sa.Row[Any] | None = None


_SQL = sa.text("""
WITH judged AS MATERIALIZED (
  SELECT r.*, (i.name IS NOT NULL AND NOT r.rebuild) AS known
  FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
    n int, id text, caller text, client text, network text, origin text, launch_host text, idempotency text, request text, provider text,
    spec text, repo text, ref text, repository text, options jsonb, build_only bool, rebuild bool, resolved_ref text, resolved_spec text,
    ref_url text, repo_url text, image text, subdir text, environment_link text, environment_source jsonb,
    build_token bool)
  LEFT JOIN image i ON i.name = r.image AND NOT i.gone
), made AS (
  INSERT INTO launch (id, caller, client, network, origin, launch_host, idempotency, request, provider, spec, repo, ref, repository,
    options, build_only, rebuild, resolved_ref, resolved_spec, ref_url, repo_url, image, subdir, environment_link, environment_source,
    build_token, state, seq, ended_at)
  SELECT id, caller, client, network, origin, launch_host, idempotency, request, provider, spec, repo, ref, repository, options,
    build_only, rebuild, resolved_ref, resolved_spec, ref_url, repo_url, image, subdir, environment_link, environment_source,
    build_token, CASE WHEN NOT known THEN 'waiting' WHEN build_only THEN 'done' ELSE 'launching' END,
    CASE WHEN known AND NOT build_only THEN 2 ELSE 1 END,
    CASE WHEN known AND build_only THEN now() END
  FROM judged
  ON CONFLICT DO NOTHING
  RETURNING id, state, image
), told AS (
  INSERT INTO event (launch, seq, kind, state, data)
  SELECT m.id, e.seq, e.kind, m.state, CASE WHEN e.kind IN ('found', 'done') THEN jsonb_build_object('image', m.image, 'found', true)
    ELSE '{}'::jsonb END
  FROM made m JOIN (VALUES ('waiting', 1, 'waiting'), ('done', 1, 'done'), ('launching', 1, 'found'), ('launching', 2, 'launching'))
    AS e(state, seq, kind) ON e.state = m.state
)
SELECT j.id, m.state, extract(epoch FROM now())::float8 AS at FROM judged j JOIN made m ON m.id = j.id
""")
_EARLIER = sa.text("""
    SELECT id, state, idempotency, request FROM launch WHERE id = ANY(CAST(:ids AS text[]))
    UNION SELECT id, state, idempotency, request FROM launch WHERE idempotency = ANY(CAST(:keys AS text[]))
""")

_FIRST: dict[str, tuple[Kind, ...]] = {
    LaunchState.WAITING: (Kind.WAITING,),
    LaunchState.DONE: (Kind.DONE,),
    LaunchState.LAUNCHING: (Kind.FOUND, Kind.LAUNCHING),
}


class Creator:
    """Accepts launches for one process."""

    def __init__(self, db: Database, bell: Bell, bounds: Bounds) -> None:
        self._db = db
        self._bell = bell
        self.bounds = bounds
        self._counting = Counting(bounds)
        self._waits = Waits(db)
        self._waiting = 0
        self._batch: Batch[NewLaunch, _Outcome] = Batch(self._flush, most=128)

    async def create(self, new: NewLaunch) -> Created:
        """Write the launch and wake whoever goes on with it; returns once it is durable.

        Raises `Overloaded` where a bound is reached, `KeyReused`, and `DatabaseGone`.
        """
        if self._waiting >= self._db.most_waiting:
            # The database is away or slow: those who wait for it keep what they have asked in memory, so they are not any number.
            raise Overloaded(f"{self._waiting} requests wait for the database already. Try again in half a minute.", 30)
        self._waiting += 1
        try:
            outcome = await self._batch.submit(new)
        finally:
            self._waiting -= 1
        if outcome.made is not None:
            return self._created(new, outcome)
        if outcome.refusal is not None:
            refusal = outcome.refusal
            raise Overloaded(refusal.sentence, await self._waits.of(refusal, self._request(new)), refusal.limit)
        # Made before, or at this moment by somebody else who brought the same key.
        earlier = outcome.earlier or await self._earlier(new)
        if earlier is None:
            raise Overloaded("The launch could not be accepted. Try again.", 1)
        return _repeated(new, earlier)

    async def repeated(self, new: NewLaunch) -> Created | None:
        """The launch that an earlier request with the same key has made. Raises `KeyReused`."""
        earlier = await self._earlier(new) if new.idempotency_key else None
        return None if earlier is None else _repeated(new, earlier)

    async def _earlier(self, new: NewLaunch) -> sa.Row[Any] | None:
        rows = await self._db.rows(_EARLIER, {"ids": [new.id], "keys": [_key(new)] if new.idempotency_key else []})
        return rows[0] if rows else None

    def _request(self, new: NewLaunch) -> Request:
        network = network_of(new.client, self.bounds.ipv4_network, self.bounds.ipv6_network)
        return Request(new.client, network, new.repository, new.quota, new.counted, new.trusted)

    def _created(self, new: NewLaunch, outcome: _Outcome) -> Created:
        made = outcome.made
        assert made is not None
        state = LaunchState(made.state)
        if state is LaunchState.WAITING:
            self._bell.ring(BUILDS)
        elif state is LaunchState.LAUNCHING:
            self._bell.ring(LAUNCHES)
        known: Mapping[str, Any] = {"image": new.image, "found": True}
        events = tuple(
            StoredEvent(new.id, seq, made.at, kind, state, known if kind in (Kind.FOUND, Kind.DONE) else {})
            for seq, kind in enumerate(_FIRST[state], 1)
        )
        return Created(new.id, state, events, rate=outcome.rate)

    async def _flush(self, news: Sequence[NewLaunch]) -> Sequence[_Outcome]:
        again = False

        async def work(conn: AsyncConnection) -> Sequence[_Outcome]:
            nonlocal again
            before, again = again, True
            return await self._accept(conn, news, before)

        return await self._db.run(work)

    async def _accept(self, conn: AsyncConnection, news: Sequence[NewLaunch], again: bool) -> list[_Outcome]:
        """Judge and write a batch. `again`: a try before this one may have been committed without our hearing of it."""
        requests = [self._request(new) for new in news]
        counted = self._counting.needed or any(request.quota for request in requests)
        if counted:
            await conn.execute(LOCK)
        outcomes = await _known(conn, news, again)
        fresh = [n for n in range(len(news)) if n not in outcomes]
        if counted:
            spends = [[(key, seconds) for _, key, seconds, _ in meters(request, self.bounds)] for request in requests]
            there = await self._counting.counts(conn, [requests[n] for n in fresh], (key for n in fresh for key, _ in spends[n]))
            for n, verdict in zip(fresh, judge([requests[n] for n in fresh], there, self.bounds), strict=True):
                outcomes[n] = _Outcome(refusal=verdict) if isinstance(verdict, Refusal) else _Outcome(rate=verdict)
            fresh = [n for n in fresh if outcomes[n].refusal is None]
        rows = [_row(news[n], requests[n].network) | {"n": n} for n in fresh]
        made = {row.id: row for row in (await conn.execute(_SQL, {"rows": json.dumps(rows)})).all()} if rows else {}
        if counted:
            await self._counting.meter(conn, Counter(spend for n in fresh if news[n].id in made for spend in spends[n]))
        for n in fresh:
            outcomes[n] = _Outcome(made=made.get(news[n].id), rate=outcomes[n].rate if n in outcomes else None)
        return [outcomes[n] for n in range(len(news))]


async def _known(conn: AsyncConnection, news: Sequence[NewLaunch], again: bool) -> dict[int, _Outcome]:
    """Those of a batch that were made before: they ask for no further launch, whatever the bounds say."""
    keys = {n: _key(new) for n, new in enumerate(news) if new.idempotency_key}
    ids = [new.id for new in news] if again else []
    if not keys and not ids:
        return {}
    rows = (await conn.execute(_EARLIER, {"ids": ids, "keys": sorted(keys.values())})).all()
    by_id, by_key = {row.id: row for row in rows}, {row.idempotency: row for row in rows}
    found = {n: by_id.get(new.id) or by_key.get(keys.get(n, "")) for n, new in enumerate(news)}
    return {n: _Outcome(earlier=row) for n, row in found.items() if row is not None}


def _repeated(new: NewLaunch, earlier: sa.Row[Any]) -> Created:
    if earlier.id != new.id and earlier.request is not None and earlier.request != _hash(new):
        raise KeyReused("This idempotency key came with another request before. Use a new key for a new request.")
    return Created(earlier.id, LaunchState(earlier.state), (), repeated=True)


def _key(new: NewLaunch) -> str:
    return hashlib.sha256(f"{new.caller}\n{new.idempotency_key}".encode()).hexdigest()


def _hash(new: NewLaunch) -> str:
    """Of everything that was asked for: the answer to a key is told to whoever asks for the same."""
    asked = [
        new.spec.provider, new.spec.raw, new.layout.subdir, new.layout.environment_link, dict(new.options), new.build_only, new.rebuild,
    ]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _row(new: NewLaunch, network: str = "") -> dict[str, Any]:
    spec, resolved = new.spec, new.resolved
    return {
        "id": new.id, "caller": new.caller, "client": new.client, "network": network, "origin": new.origin, "launch_host": new.launch_host,
        "idempotency": _key(new) if new.idempotency_key else None, "request": _hash(new) if new.idempotency_key else None,
        "provider": spec.provider, "spec": spec.raw, "repo": spec.repo, "ref": spec.ref, "repository": new.repository or None,
        "options": dict(new.options), "build_only": new.build_only, "rebuild": new.rebuild,
        "resolved_ref": resolved.ref if resolved else None, "resolved_spec": resolved.spec if resolved else None,
        "ref_url": resolved.ref_url if resolved else None, "repo_url": resolved.repo_url if resolved else None,
        "image": new.image or None, "subdir": new.layout.subdir or None, "environment_link": new.layout.environment_link or None,
        "environment_source": dict(new.environment_source) if new.environment_source else None, "build_token": not new.counted,
    }
