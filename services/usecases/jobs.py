"""Finding jobs and telling one's story, for operators: launches and builds by what they are, where they stand, why they failed.

A search looks at the newest `DEPTH` jobs, and by id at all of them, so that no search reads everything there has ever been. """

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.db import Database
from services.errors import NotFound
from services.models import Build as _BuildRow
from services.models import Launch as _LaunchRow
from services.states import BUILD_OPEN, LAUNCH_OPEN, BuildState, LaunchState

DEPTH = 20_000
FIELDS = ("id", "repo", "ref", "state", "reason", "provider", "client")
_OLDEST_FIRST = frozenset(map(str, {*LAUNCH_OPEN, *BUILD_OPEN}))
_LIVE = _OLDEST_FIRST | {str(LaunchState.READY), str(LaunchState.STOPPING)}
_LAUNCH = {
    "id": "id", "repo": "provider || ': ' || repo || ' ' || spec", "ref": "ref || ' ' || coalesce(resolved_ref, '')", "state": "state",
    "reason": "coalesce(reason->>'code', '') || ' ' || coalesce(reason->>'message', '') || ' ' || coalesce(stop_reason, '')",
    "provider": "provider", "client": "client",
}
_BUILD = {
    "id": "id", "repo": "provider || ': ' || repo_url || ' ' || image", "ref": "\"commit\" || ' ' || ref", "state": "state",
    "reason": "coalesce(reason->>'code', '') || ' ' || coalesce(reason->>'message', '')", "provider": "provider", "client": "''",
}
_COLUMNS = {
    "launch": "id, created_at, state, state_at, provider, repo, ref, resolved_ref, client, reason, stop_reason, build, lease_owner, "
              "target, build_only, ended_at",
    "build": "id, created_at, state, started_at AS state_at, provider, repo_url AS repo, \"commit\" AS ref, NULL AS resolved_ref, "
             "'' AS client, reason, NULL AS stop_reason, id AS build, lease_owner, target, false AS build_only, ended_at",
}
_STATES = {"launch": frozenset(map(str, LaunchState)), "build": frozenset(map(str, BuildState))}


@dataclass(frozen=True, slots=True)
class Search:
    """What is sought: words that a job must all contain, each in any field or in the one that it names (`state:failed`)."""

    kind: str = "launch"  # or build
    words: tuple[tuple[str, str], ...] = ()  # field (or empty) and text
    states: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str, kind: str = "launch") -> "Search":
        """Read what somebody typed; `under-way` as a state is every state that is not at its end."""
        words, states = [], set[str]()
        for word in text.split()[:8]:
            name, colon, value = word.partition(":")
            if colon and name == "state" and value:
                states |= _meant(value.lower(), kind)
            elif colon and name in FIELDS and value:
                words.append((name, value[:100]))
            else:
                words.append(("", word[:100]))
        return cls(kind, tuple(words), frozenset(states))


def _meant(value: str, kind: str) -> set[str]:
    if value == "under-way":
        return {str(state) for state in (LAUNCH_OPEN if kind == "launch" else BUILD_OPEN)}
    return {state for state in _STATES[kind] if state.startswith(value)} or {"none"}


@dataclass(frozen=True, slots=True)
class Found:
    """One page of jobs. `more`: there are further ones."""

    rows: list[Mapping[str, Any]] = field(default_factory=list)
    more: bool = False


async def search(db: Database, sought: Search, *, most: int = 50, skip: int = 0) -> Found:
    """Jobs that fit, the newest first; those under way, when they alone are sought, the oldest first."""
    table, texts = sought.kind, _LAUNCH if sought.kind == "launch" else _BUILD
    parameters: dict[str, Any] = {"most": most + 1, "skip": skip}
    conditions = ["true"]
    for n, (name, text) in enumerate(sought.words):
        parameters[f"w{n}"] = "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"
        anywhere = [texts[name]] if name else list(texts.values())
        conditions.append("(" + " OR ".join(f"{expression} ILIKE :w{n}" for expression in anywhere) + ")")
    order = "ASC" if sought.states and sought.states <= _OLDEST_FIRST else "DESC"
    ids = [text for name, text in sought.words if name in ("", "id") and re.fullmatch(r"[0-9a-f]{12,32}", text)]
    if len(sought.words) == 1 and ids:  # of any age, by its key
        parameters |= {"low": ids[0], "high": ids[0] + "g"}
        del parameters["w0"]
        conditions = ["id >= :low AND id < :high"]
        source = table
    elif sought.states and sought.states <= _LIVE:
        # Each by itself and written out, so that the partial index of that state is used.
        source = "(" + " UNION ALL ".join(f"SELECT * FROM {table} WHERE state = '{state}'" for state in sorted(sought.states)) + ") j"  # noqa: S608
    else:
        if sought.states:
            parameters["states"] = sorted(sought.states)
            conditions.append("state = ANY(CAST(:states AS text[]))")
        source = f"(SELECT * FROM {table} ORDER BY created_at DESC, id DESC LIMIT {DEPTH}) j"  # noqa: S608
    text = f"""
        SELECT {_COLUMNS[table]} FROM {source} WHERE {" AND ".join(conditions)} ORDER BY created_at {order}, id {order}
        LIMIT :most OFFSET :skip
    """  # noqa: S608 - constants of this module and states
    rows: list[Mapping[str, Any]] = [dict(row._mapping) for row in await db.rows(sa.text(text).columns(reason=sa.JSON), parameters)]
    return Found(rows[:most], len(rows) > most)


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a launch, or one phase of a build."""

    at: datetime
    name: str
    text: str
    seconds: float | None  # until the next one


@dataclass(frozen=True, slots=True)
class Job:
    """One launch or build with its story."""

    kind: str
    row: Mapping[str, Any]
    steps: list[Step]
    launches: list[Mapping[str, Any]]  # those that wait for a build


async def launch(db: Database, launch_id: str) -> Job:
    """A launch by its id or the first twelve digits of it. Raises `NotFound`."""
    row = await _row(db, "launch", launch_id)
    events = await db.rows(sa.text(
        "SELECT at, kind, state, data FROM event WHERE launch = :id ORDER BY seq LIMIT 500").columns(data=sa.JSON), {"id": row["id"]})
    steps = [
        Step(event.at, event.kind, _said(event.data), None if n + 1 == len(events) else (events[n + 1].at - event.at).total_seconds())
        for n, event in enumerate(events)
    ]
    return Job("launch", row, steps, [])


async def build(db: Database, build_id: str) -> Job:
    """A build by its id or the first twelve digits of it. Raises `NotFound`."""
    row = await _row(db, "build", build_id)
    waiters = await db.rows(sa.text(
        "SELECT id, repo, state, created_at FROM launch WHERE build = :id AND state = 'building' ORDER BY created_at LIMIT 20"),
        {"id": row["id"]})
    marks = await db.rows(sa.text("""
        SELECT key AS name, to_timestamp(value::float8) AS at FROM build, jsonb_each_text(marks) WHERE id = :id ORDER BY value::float8
    """), {"id": row["id"]})
    moments = [("queued", row["created_at"]), *[(mark.name, mark.at) for mark in marks]]
    steps = [
        Step(at, name, "", None if n + 1 == len(moments) else (moments[n + 1][1] - at).total_seconds())
        for n, (name, at) in enumerate(moments)
    ]
    return Job("build", row, steps, [waiter._asdict() for waiter in waiters])


def _said(data: Mapping[str, Any]) -> str:
    reason = data.get("reason") or {}
    return str(reason.get("message") or data.get("message") or data.get("why") or "")


async def _row(db: Database, table: str, text: str) -> Mapping[str, Any]:
    if not re.fullmatch(r"[0-9a-f]{12,32}", text):
        raise NotFound(f"There is no such {table}.")
    columns = (_LaunchRow if table == "launch" else _BuildRow).__table__
    rows = await db.rows(sa.select(columns).where(columns.c.id >= text, columns.c.id < text + "g").limit(1))
    if not rows:
        raise NotFound(f"There is no such {table}. It may have expired.")
    return rows[0]._asdict()


async def tail(db: Database, build_id: str, most: int = 200) -> tuple[int, list[str]]:
    """The last lines of a build's log: the number of the first of them, and the lines as stored."""
    rows = await db.rows(sa.text("""
        SELECT first, body FROM log_chunk WHERE build = :id ORDER BY first DESC LIMIT 12
    """), {"id": build_id})
    lines, first = list[str](), 1
    for row in rows:
        lines = row.body.split("\n") + lines
        first = row.first
        if len(lines) >= most:
            break
    left = max(0, len(lines) - most)
    return first + left, lines[left:]
