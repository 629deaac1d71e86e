"""Brings a database to a newer schema, under lock and statement timeouts, in two phases.

A migration says when it may run: `PHASE = "before"` adds what new code needs and old code does not mind, so it runs while the
old code does; `PHASE = "after"` removes what only old code needed, so it runs when no process of the old code is left. Phase
"before" therefore goes as far as the last migration of its kind, and "after" does the rest. An "after" that stands in between
belongs to an earlier release, whose old code has gone long ago; skipping a release means stopping everything for its upgrade.

A migration that has to wait for a lock makes every later query wait behind it; so it gives up after `lock_timeout` and is tried
again, instead of standing in the way. Indexes of tables in use are made by `services.db.indexes`. One session-level advisory
lock lets only one process migrate at a time. """

import asyncio
import enum
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from services.db.engine import sqlstate
from services.errors import Misconfigured

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 0x646F636B  # "dock"
_LOCKED = {"55P03", "40P01"}  # no lock in time, and a deadlock
_TRIES, _PAUSE = 10, 2.0  # seconds between tries of a migration that got no lock
_ASK = 0.2  # seconds between looks whether somebody else still migrates


class Phase(enum.StrEnum):
    """When a migration may run."""

    BEFORE = "before"  # while the old code runs
    AFTER = "after"  # when it has gone
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Step:
    """One migration."""

    revision: str
    phase: Phase


def _config(directory: Path = MIGRATIONS) -> Config:
    config = Config()
    config.set_main_option("script_location", str(directory).replace("%", "%%"))
    return config


def heads() -> list[str]:
    """The newest revisions; more than one is a mistake."""
    return list(ScriptDirectory.from_config(_config()).get_heads())


def steps(directory: Path = MIGRATIONS) -> list[Step]:
    """All migrations, the oldest first."""
    found = list(ScriptDirectory.from_config(_config(directory)).walk_revisions())[::-1]
    return [Step(one.revision, Phase(getattr(one.module, "PHASE", Phase.BEFORE))) for one in found]


def too_old(directory: Path = MIGRATIONS) -> set[str]:
    """The revisions that this code cannot work with: those before its last migration of the phase "before"."""
    known = steps(directory)
    return {step.revision for step in known[: _last(known, Phase.BEFORE)]}


def _last(known: list[Step], phase: Phase) -> int:
    """The index of the last migration that this phase runs."""
    if phase is not Phase.BEFORE:
        return len(known) - 1
    return max(index for index, step in enumerate(known) if step.phase is Phase.BEFORE)


def pending(found: str | None, directory: Path = MIGRATIONS) -> list[Step]:
    """The migrations that a database of this revision has still to come. Raises `Misconfigured` for a revision that is not ours."""
    known = steps(directory)
    if found is None:
        return known
    revisions = [step.revision for step in known]
    if found not in revisions:
        raise Misconfigured(
            f"The database has the schema {found}, which this version of Dockyard does not know: a newer version has written it. "
            "Start that version, or restore the backup that was made before the upgrade (./dockyard restore).")
    return known[revisions.index(found) + 1:]


def _run(connection: Connection, directory: Path, revision: str) -> None:
    config = _config(directory)
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def upgrade(url: str, revision: str = "", *, phase: Phase = Phase.ALL, directory: Path = MIGRATIONS) -> list[str]:
    """Migrate the database at `url`, as far as the phase goes or to a revision; which migrations have been made.

    Raises `Misconfigured` where a newer version has migrated it.
    """
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.connect() as conn:
            await _alone(conn)
            todo = pending(await _current(conn), directory)
            await conn.commit()
            target = revision or (steps(directory)[_last(steps(directory), phase)].revision)
            if target not in {step.revision for step in todo}:
                return []
            for step in todo:
                await _patiently(conn, directory, step.revision)
                if step.revision == target:
                    break
            return [step.revision for step in todo[: [one.revision for one in todo].index(target) + 1]]
    finally:
        await engine.dispose()


async def _alone(conn: AsyncConnection) -> None:
    """Wait until nobody else migrates. Asked for again and again: whoever waits within a statement has a snapshot, for whose end an
    index that is made CONCURRENTLY by the one who migrates would wait.
    """
    while not await conn.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
        await conn.rollback()
        await asyncio.sleep(_ASK)
    await conn.commit()


async def _patiently(conn: AsyncConnection, directory: Path, revision: str) -> None:
    """One migration; again where others hold a lock for too long, or wait for one of ours."""
    for attempt in range(1, _TRIES + 1):
        try:
            await conn.execute(text("SET lock_timeout = '5s'"))
            await conn.execute(text("SET statement_timeout = '60s'"))
            await conn.commit()
            await conn.run_sync(_run, directory, revision)
            await conn.commit()
            return
        except DBAPIError as error:
            await conn.rollback()
            if sqlstate(error) not in _LOCKED or attempt == _TRIES:
                raise
        await asyncio.sleep(_PAUSE)


async def _current(conn: AsyncConnection) -> str | None:
    found = await conn.scalar(text("SELECT to_regclass('alembic_version')"))
    return await conn.scalar(text("SELECT version_num FROM alembic_version")) if found else None


async def current(url: str) -> str | None:
    """The revision of the database at `url`, or None where nothing has been made yet."""
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.connect() as conn:
            return await _current(conn)
    finally:
        await engine.dispose()


def run(url: str) -> None:
    """`upgrade` for callers without an event loop."""
    asyncio.run(upgrade(url))
