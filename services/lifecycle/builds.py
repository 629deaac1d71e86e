"""The state of builds: joining, moving and finishing, each under the build row's lock.

A launch joins the open build of its image or makes one; whoever finishes a build moves all launches that wait for it
in the same transaction. Both lock the build's row first and launches after it, so nobody joins a build that has just
ended and nobody waits for the other. """

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database
from services.errors import LeaseLost
from services.events import Kind, NewEvent, StoredEvent, build_end
from services.lifecycle.moves import Move
from services.lifecycle.tally import count_build
from services.names import new_id
from services.states import BUILD_FROM, BuildState, LaunchState


@dataclass(frozen=True, slots=True)
class Wanted:
    """The build that a launch needs."""

    image: str
    provider: str
    repo_url: str
    commit: str
    ref: str = ""
    rebuild: bool = False
    options: Mapping[str, Any] | None = None
    subdir: str = ""
    environment: Mapping[str, str] | None = None  # the fields of `runtimes.base.Source`
    client: str = ""  # whose launch it is, for fair shares


_JOIN = sa.text("""
    UPDATE build SET target = 'built', cancel_at = NULL
    WHERE image = :image AND state IN ('queued', 'fetching', 'building', 'pushing') AND target <> 'ending' RETURNING id
""")
_MAKE = sa.text("""
    INSERT INTO build (id, image, generation, no_cache, provider, repo_url, commit, ref, options, subdir, environment_source, client)
    SELECT :id, :image, coalesce(max(generation), 0) + 1, :no_cache, :provider, :repo_url, :commit, :ref, CAST(:options AS jsonb),
      :subdir, CAST(:environment AS jsonb), :client
    FROM build WHERE image = :image
    ON CONFLICT DO NOTHING RETURNING id
""").bindparams(sa.bindparam("subdir", type_=sa.Text), sa.bindparam("environment", type_=sa.Text), sa.bindparam("client", type_=sa.Text))


async def join(conn: AsyncConnection, wanted: Wanted) -> str | None:
    """The id of the open build of this image, made if there is none; its row is locked until the transaction ends.

    None while a cancelled build's run is being stopped: two builds of one image never run at once, so ask again.
    """
    for _ in range(3):
        found = await conn.scalar(_JOIN, {"image": wanted.image})
        if found is None:
            found = await conn.scalar(_MAKE, {
                "id": new_id(), "image": wanted.image, "no_cache": wanted.rebuild, "provider": wanted.provider,
                "repo_url": wanted.repo_url, "commit": wanted.commit, "ref": wanted.ref,
                "options": json.dumps(dict(wanted.options or {})), "subdir": wanted.subdir or None,
                "environment": json.dumps(dict(wanted.environment)) if wanted.environment else None, "client": wanted.client or None,
            })
        if found is not None:
            return str(found)
    return None


async def mark(db: Database, build: str, epoch: int, to: BuildState, *, environment: str | None = None, makes: bool = False) -> bool:
    """Move a build as its owner; False where another build makes this environment already.

    Raises `LeaseLost`. A move to the present state is allowed: an adopted build tells its phases again.
    """
    statement = sa.text("""
        UPDATE build SET state = :to, started_at = coalesce(started_at, now()),
          environment = coalesce(:environment, environment), makes_environment = makes_environment OR :makes,
          marks = CASE WHEN marks ? :to THEN marks ELSE marks || jsonb_build_object(:to, extract(epoch FROM now())::float8) END
        WHERE id = :id AND epoch = :epoch AND state = ANY(CAST(:allowed AS text[])) RETURNING id
    """.replace("marks ? :to", "jsonb_exists(marks, :to)")).bindparams(
        sa.bindparam("to", type_=sa.Text), sa.bindparam("environment", type_=sa.Text), sa.bindparam("makes", type_=sa.Boolean))
    try:
        rows = await db.rows(statement, {
            "id": build, "epoch": epoch, "to": to, "environment": environment, "makes": makes,
            "allowed": sorted({*BUILD_FROM[to], to}),
        })
    except IntegrityError:
        return False
    if not rows:
        raise LeaseLost(f"build {build[:12]} has another owner or another state")
    return True


@dataclass(frozen=True, slots=True)
class Finish:
    """How a build ended. A reason has code, message (a sentence) and hint."""

    state: BuildState  # built, failed or cancelled
    reason: Mapping[str, str] | None = None
    facts: Mapping[str, str] | None = None


_FINISH = sa.text("""
    UPDATE build SET state = :state, reason = CAST(:reason AS jsonb), facts = CAST(:facts AS jsonb), ended_at = now(),
      lease_owner = NULL, lease_until = NULL, crashes = 0,
      marks = marks || jsonb_build_object(CAST(:state AS text), extract(epoch FROM now())::float8)
    WHERE id = :id AND epoch = :epoch AND state IN ('queued', 'fetching', 'building', 'pushing')
      AND (:state <> 'cancelled' OR target = 'ending')
    RETURNING image, lines, environment, extract(epoch FROM ended_at)::float8 AS at
""").bindparams(sa.bindparam("state", type_=sa.Text))
_WAITERS = sa.text("SELECT id, build_only FROM launch WHERE build = :id AND state = 'building' ORDER BY id FOR UPDATE")
_KNOWN = sa.text("""
    INSERT INTO image (name, build, environment, held_until) VALUES (:name, :build, :environment, now() + interval '20 seconds')
    ON CONFLICT (name) DO UPDATE SET build = excluded.build, environment = excluded.environment, built_at = now(),
      used_at = now(), gone = false, held_until = excluded.held_until
""")


@dataclass(frozen=True, slots=True)
class Finished:
    """What follows from the end of a build: the moves of everybody who waited, to be made in the same transaction, and the news of it,
    to be told after the commit."""

    moves: list[Move]
    news: StoredEvent


async def finish(conn: AsyncConnection, build: str, epoch: int, end: Finish) -> Finished:
    """End a build as its owner.

    Raises `LeaseLost` if the row is not ours; for `cancelled` after `give_up` only.
    """
    row = (await conn.execute(_FINISH, {
        "id": build, "epoch": epoch, "state": end.state, "reason": json.dumps(dict(end.reason)) if end.reason else None,
        "facts": json.dumps(dict(end.facts or {})),
    })).one_or_none()
    if row is None:
        raise LeaseLost(f"build {build[:12]} has another owner, or is wanted again")
    await count_build(conn, build)
    if end.state is BuildState.BUILT:
        environment = row.environment or (end.facts or {}).get("environment") or None  # some runtimes tell it at the end only
        await conn.execute(_KNOWN, {"name": row.image, "build": build, "environment": environment})
    waiters = (await conn.execute(_WAITERS, {"id": build})).all()
    moves = [_after(waiter.id, waiter.build_only, row.image, row.lines, end) for waiter in waiters]
    return Finished(moves, build_end(build, row.at, end.state, row.lines, end.reason))


def _after(launch: str, build_only: bool, image: str, lines: int, end: Finish) -> Move:
    data = {"image": image, "log_end": lines}
    if end.state is BuildState.BUILT and build_only:
        return Move(launch, LaunchState.DONE, (NewEvent(Kind.DONE, data),))
    if end.state is BuildState.BUILT:
        return Move(
            launch, LaunchState.LAUNCHING, (NewEvent(Kind.BUILT, data), NewEvent(Kind.LAUNCHING)), values={"due_in": 0}, release=True)
    if end.state is BuildState.CANCELLED:
        reason = {"code": "cancelled", "message": "The build was cancelled.", "hint": ""}
    else:
        reason = dict(end.reason or {})
    return Move(launch, LaunchState.FAILED, (NewEvent(Kind.FAILED, {"reason": reason, "log_end": lines}),), values={"reason": reason})


async def give_up(db: Database, build: str, epoch: int) -> bool:
    """Make a cancel final, as the build's owner, once its grace has passed: from here on nobody joins.

    False if somebody wants the build again. Only then may its run be stopped, and only then may the row say `cancelled`.
    """
    rows = await db.rows(sa.text("""
        UPDATE build SET target = 'ending' WHERE id = :id AND epoch = :epoch
          AND state IN ('queued', 'fetching', 'building', 'pushing') AND target IN ('cancelled', 'ending') AND cancel_at <= now()
        RETURNING id
    """), {"id": build, "epoch": epoch})
    return bool(rows)


async def put_off(db: Database, build: str, epoch: int, environment: str | None, delay: float) -> None:
    """Give a build back for `delay` seconds, while it waits for its environment or for room. Raises `LeaseLost`.

    It keeps no place in a worker meanwhile, which whoever makes the environment may need.
    """
    rows = await db.rows(sa.text("""
        UPDATE build SET environment = :environment, due = now() + :delay * interval '1 second', lease_owner = NULL, lease_until = NULL
        WHERE id = :id AND epoch = :epoch AND state IN ('queued', 'fetching', 'building', 'pushing') RETURNING id
    """), {"id": build, "epoch": epoch, "environment": environment, "delay": delay})
    if not rows:
        raise LeaseLost(f"build {build[:12]} has another owner")


async def retry(db: Database, build: str, epoch: int, delay: float) -> None:
    """Start a deliberate new attempt after `delay` seconds. Raises `LeaseLost`."""
    rows = await db.rows(sa.text("""
        UPDATE build SET state = 'queued', attempt = attempt + 1, source_line = 0, due = now() + :delay * interval '1 second',
          lease_owner = NULL, lease_until = NULL, crashes = 0, makes_environment = false
        WHERE id = :id AND epoch = :epoch AND state IN ('queued', 'fetching', 'building', 'pushing') RETURNING id
    """), {"id": build, "epoch": epoch, "delay": delay})
    if not rows:
        raise LeaseLost(f"build {build[:12]} has another owner")
