"""The one function that writes the state of launches, together with the events that tell of it.

A move is a guarded UPDATE: it happens only from the states that may precede (`LAUNCH_FROM`), and, when it comes from
an owner, only while that owner's epoch is still the row's. The events get their numbers under the row's lock in the
same transaction, so a reader that has seen number n has seen everything before it. Many moves go in one statement;
the rows are locked in the order of their ids, so that two batches cannot wait for each other. The server's row
follows its launch in the same statement. """

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.events import NewEvent, StoredEvent
from services.states import LAUNCH_ENDED, LAUNCH_FROM, LAUNCH_LIVE, LaunchState

# What a move may write beside the state. Seconds for `due_in`; everything else as the column.
COLUMNS = frozenset({
    "image", "build", "resolved_ref", "resolved_spec", "ref_url", "repo_url", "url", "reason", "stop_reason", "target",
    "environment_source", "attempt", "rebuilt", "due_in",
})


@dataclass(frozen=True, slots=True)
class Move:
    """One launch's step: to a state (None: only tell something), with events and values, as owner of `epoch` or as
    nobody.
    """

    launch: str
    to: LaunchState | None
    events: tuple[NewEvent, ...] = ()
    epoch: int | None = None
    allowed: frozenset[LaunchState] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    release: bool = False  # give the lease back: the next step is somebody else's

    def payload(self) -> dict[str, Any]:
        """The row of the statement's input."""
        unknown = self.values.keys() - COLUMNS
        if unknown:
            raise ValueError(f"a move cannot write {sorted(unknown)}")
        allowed = self.allowed
        if allowed is None:
            allowed = LAUNCH_LIVE if self.to is None else LAUNCH_FROM[self.to]
        return {
            "id": self.launch, "to": self.to, "epoch": self.epoch, "allowed": sorted(allowed), "v": dict(self.values),
            "release": self.release or (self.to is not None and self.to in LAUNCH_ENDED | {LaunchState.READY}),
            "events": [{"kind": event.kind, "data": dict(event.data)} for event in self.events],
        }


def _column(name: str, cast: str = "") -> str:
    value = f"i.v->'{name}'" if cast == "jsonb" else f"(i.v->>'{name}'){cast and '::' + cast}"
    return f"{name} = CASE WHEN jsonb_exists(i.v, '{name}') THEN {value} ELSE l.{name} END"


def _stopped_if_late(name: str, value: str) -> str:
    """A cancel that came too late to keep the server from being ready is a wish to stop it."""
    column = _column(name)
    return f"{name} = CASE WHEN i.\"to\" = 'ready' AND l.target = 'cancelled' THEN '{value}' ELSE {column.partition(' = ')[2]} END"


_SQL = sa.text(f"""
WITH i AS MATERIALIZED (
  SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
    AS r(id text, "to" text, epoch int, allowed text[], v jsonb, release bool, events jsonb)
), held AS MATERIALIZED (
  SELECT l.id FROM launch l JOIN i ON i.id = l.id
  WHERE l.state = ANY(i.allowed) AND (i.epoch IS NULL OR l.epoch = i.epoch)
  ORDER BY l.id FOR UPDATE OF l
), moved AS (
  UPDATE launch l SET
    state = coalesce(i."to", l.state),
    state_at = CASE WHEN i."to" IS NULL OR i."to" = l.state THEN l.state_at ELSE now() END,
    seq = l.seq + jsonb_array_length(i.events),
    {", ".join(_column(name) for name in ("image", "build", "resolved_ref", "resolved_spec", "ref_url", "repo_url", "url"))},
    {_stopped_if_late("target", "stopped")}, {_stopped_if_late("stop_reason", "user")},
    {_column("reason", "jsonb")},
    {_column("environment_source", "jsonb")},
    {_column("attempt", "int")},
    {_column("rebuilt", "bool")},
    due = CASE WHEN jsonb_exists(i.v, 'due_in') THEN now() + (i.v->>'due_in')::float * interval '1 second' ELSE l.due END,
    ready_at = CASE WHEN i."to" = 'ready' THEN now() ELSE l.ready_at END,
    ended_at = CASE WHEN i."to" IN ({", ".join(f"'{state}'" for state in sorted(LAUNCH_ENDED))}) THEN now() ELSE l.ended_at END,
    crashes = CASE WHEN i.release THEN 0 ELSE l.crashes END,
    lease_owner = CASE WHEN i.release THEN NULL ELSE l.lease_owner END,
    lease_until = CASE WHEN i.release THEN NULL ELSE l.lease_until END
  FROM i JOIN held ON held.id = i.id
  WHERE l.id = i.id AND l.state = ANY(i.allowed) AND (i.epoch IS NULL OR l.epoch = i.epoch)
  RETURNING l.id, l.seq - jsonb_array_length(i.events) AS before, l.state, i.events
), served AS (
  UPDATE server s SET
    state = CASE m.state WHEN 'ready' THEN 'running' WHEN 'stopping' THEN 'stopping' ELSE 'stopped' END,
    stopped_at = CASE WHEN m.state IN ('ready', 'stopping') THEN s.stopped_at ELSE now() END
  FROM moved m
  WHERE s.launch = m.id AND s.state <> 'stopped' AND m.state IN ('ready', 'stopping', 'stopped', 'failed', 'cancelled')
), told AS (
  INSERT INTO event (launch, seq, kind, state, data)
  SELECT m.id, m.before + e.n, e.event->>'kind', m.state, e.event->'data'
  FROM moved m, jsonb_array_elements(m.events) WITH ORDINALITY AS e(event, n)
)
SELECT id, before, state, extract(epoch FROM now())::float8 AS at FROM moved
""")


async def move_launches(conn: AsyncConnection, moves: Sequence[Move]) -> dict[str, list[StoredEvent]]:
    """Make the moves that may be made; the answer has the launches that moved, each with its events as stored.

    At most one move per launch in one call.
    """
    if not moves:
        return {}
    result = await conn.execute(_SQL, {"rows": json.dumps([move.payload() for move in moves])})
    by_id = {move.launch: move for move in moves}
    moved: dict[str, list[StoredEvent]] = {}
    for row in result:
        events = by_id[row.id].events
        moved[row.id] = [
            StoredEvent(row.id, row.before + n, row.at, event.kind, row.state, event.data)
            for n, event in enumerate(events, 1)
        ]
    return moved
