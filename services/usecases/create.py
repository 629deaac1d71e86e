"""Accepting a launch: one durable row with its first events, in a statement shared by everybody who asks at the same
moment.

Where the commit is known already and its image too, the launch begins in `launching`: nothing has to be resolved or
built, and the worker is not troubled. The bounds of `limits` are counted in the same statement, so that a flood
cannot slip through between a look and a write. """

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Batch, Database
from services.errors import Overloaded
from services.events import Kind, StoredEvent
from services.providers.base import Resolved, Spec
from services.providers.layout import WHOLE, Layout
from services.queue import BUILDS, LAUNCHES, Bell
from services.settings import LimitSettings
from services.states import LaunchState


@dataclass(frozen=True, slots=True)
class NewLaunch:
    """A launch that somebody asks for, under an id that its maker has chosen. `caller` scopes idempotency keys;
    `client` is the address that limits count.
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
    counted: bool = True  # against `limits.open_per_client`
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


_UNCOUNTED = "uncounted:"  # begins the caller of a launch that does not count against its client
_OPEN = "('waiting', 'resolving', 'building', 'launching')"
_SQL = sa.text(f"""
WITH r AS MATERIALIZED (
  SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
    n int, id text, counted bool, caller text, client text, origin text, launch_host text, idempotency text, provider text, spec text,
    repo text, ref text, options jsonb, build_only bool, rebuild bool, resolved_ref text, resolved_spec text, ref_url text,
    repo_url text, image text, subdir text, environment_link text, environment_source jsonb)
), mine AS (
  SELECT client, count(*) AS n FROM launch WHERE client IN (SELECT client FROM r) AND state IN {_OPEN}
    AND caller NOT LIKE '{_UNCOUNTED}%' GROUP BY client
), everybody AS (
  SELECT CASE WHEN :total = 0 THEN 0 ELSE (SELECT count(*) FROM launch WHERE state IN {_OPEN}) END AS n
), judged AS MATERIALIZED (
  SELECT r.*, (i.name IS NOT NULL AND NOT r.rebuild) AS known,
    :per_client > 0 AND r.counted
      AND coalesce(mine.n, 0) + row_number() OVER (PARTITION BY r.client, r.counted ORDER BY r.n) > :per_client AS too_many,
    :total > 0 AND everybody.n + row_number() OVER (ORDER BY r.n) > :total AS at_bound
  FROM r LEFT JOIN image i ON i.name = r.image AND NOT i.gone LEFT JOIN mine USING (client) CROSS JOIN everybody
), made AS (
  INSERT INTO launch (id, caller, client, origin, launch_host, idempotency, provider, spec, repo, ref, options, build_only,
    rebuild, resolved_ref, resolved_spec, ref_url, repo_url, image, subdir, environment_link, environment_source, state, seq, ended_at)
  SELECT id, caller, client, origin, launch_host, idempotency, provider, spec, repo, ref, options, build_only, rebuild,
    resolved_ref, resolved_spec, ref_url, repo_url, image, subdir, environment_link, environment_source,
    CASE WHEN NOT known THEN 'waiting' WHEN build_only THEN 'done' ELSE 'launching' END,
    CASE WHEN known AND NOT build_only THEN 2 ELSE 1 END,
    CASE WHEN known AND build_only THEN now() END
  FROM judged WHERE NOT too_many AND NOT at_bound
  ON CONFLICT DO NOTHING
  RETURNING id, state, image
), told AS (
  INSERT INTO event (launch, seq, kind, state, data)
  SELECT m.id, e.seq, e.kind, m.state, CASE WHEN e.kind IN ('found', 'done') THEN jsonb_build_object('image', m.image, 'found', true)
    ELSE '{{}}'::jsonb END
  FROM made m JOIN (VALUES ('waiting', 1, 'waiting'), ('done', 1, 'done'), ('launching', 1, 'found'), ('launching', 2, 'launching'))
    AS e(state, seq, kind) ON e.state = m.state
)
SELECT j.id, m.state, j.too_many, j.at_bound, extract(epoch FROM now())::float8 AS at
FROM judged j LEFT JOIN made m ON m.id = j.id ORDER BY j.n
""")
_EARLIER = sa.text("SELECT id, state FROM launch WHERE id = :id OR idempotency = :idempotency ORDER BY created_at LIMIT 1")

_FIRST: dict[str, tuple[Kind, ...]] = {
    LaunchState.WAITING: (Kind.WAITING,),
    LaunchState.DONE: (Kind.DONE,),
    LaunchState.LAUNCHING: (Kind.FOUND, Kind.LAUNCHING),
}


class Creator:
    """Accepts launches for one process."""

    def __init__(self, db: Database, bell: Bell, limits: LimitSettings) -> None:
        self._db = db
        self._bell = bell
        self._limits = limits
        self._batch: Batch[dict[str, Any], sa.Row[Any]] = Batch(self._flush, most=128)

    async def create(self, new: NewLaunch) -> Created:
        """Write the launch and wake whoever goes on with it; returns once it is durable.

        Raises `Overloaded` where a bound is reached, and `DatabaseGone`.
        """
        row = _row(new)
        made = await self._batch.submit(row)
        if made.state is not None:
            return self._created(row, made)
        refused = made.too_many or made.at_bound
        if not refused or row["idempotency"]:  # a repeated request asks for no further launch, whatever the bounds say
            found = await self._db.rows(_EARLIER, {"id": row["id"], "idempotency": row["idempotency"]})
            if found:
                return Created(found[0].id, LaunchState(found[0].state), (), repeated=True)
        if made.too_many:
            raise Overloaded(
                f"There are {self._limits.open_per_client} launches of your address under way. Wait until one of them is ready.", 15)
        if made.at_bound:
            raise Overloaded("Too many launches are under way. Try again in a quarter of a minute.", 15)
        raise Overloaded("The launch could not be accepted. Try again.", 1)

    def _created(self, row: Mapping[str, Any], made: sa.Row[Any]) -> Created:
        state = LaunchState(made.state)
        if state is LaunchState.WAITING:
            self._bell.ring(BUILDS)
        elif state is LaunchState.LAUNCHING:
            self._bell.ring(LAUNCHES)
        known: Mapping[str, Any] = {"image": row["image"], "found": True}
        events = tuple(
            StoredEvent(row["id"], seq, made.at, kind, state, known if kind in (Kind.FOUND, Kind.DONE) else {})
            for seq, kind in enumerate(_FIRST[state], 1)
        )
        return Created(row["id"], state, events)

    async def _flush(self, rows: Sequence[dict[str, Any]]) -> Sequence[sa.Row[Any]]:
        for n, row in enumerate(rows):
            row["n"] = n
        parameters = {
            "rows": json.dumps(rows), "per_client": self._limits.open_per_client, "total": self._limits.open_total,
        }

        async def work(conn: AsyncConnection) -> Sequence[sa.Row[Any]]:
            return (await conn.execute(_SQL, parameters)).all()

        return await self._db.run(work)


def _row(new: NewLaunch) -> dict[str, Any]:
    spec, resolved = new.spec, new.resolved
    key = None
    if new.idempotency_key:
        key = hashlib.sha256(f"{new.caller}\n{new.idempotency_key}".encode()).hexdigest()
    return {
        "id": new.id, "caller": new.caller if new.counted else _UNCOUNTED + new.caller, "counted": new.counted, "client": new.client,
        "origin": new.origin, "launch_host": new.launch_host,
        "idempotency": key, "provider": spec.provider, "spec": spec.raw, "repo": spec.repo, "ref": spec.ref,
        "options": dict(new.options), "build_only": new.build_only, "rebuild": new.rebuild,
        "resolved_ref": resolved.ref if resolved else None, "resolved_spec": resolved.spec if resolved else None,
        "ref_url": resolved.ref_url if resolved else None, "repo_url": resolved.repo_url if resolved else None,
        "image": new.image or None, "subdir": new.layout.subdir or None, "environment_link": new.layout.environment_link or None,
        "environment_source": dict(new.environment_source) if new.environment_source else None,
    }
