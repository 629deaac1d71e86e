"""Migrations in two phases, on migrations made for the test: what runs beside old code, and what waits for its end."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from reaper.deeds import Deeds
from reaper.schema import Schema
from services.db import Database, migrate
from services.db.schema import newest, older
from services.errors import Misconfigured
from services.settings import Settings

PHASES = {"0001": "before", "0002": "after", "0003": "before", "0004": "after"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Migrations that each add a column to a table of their own."""
    found = tmp_path / "migrations"
    (found / "versions").mkdir(parents=True)
    shutil.copy(migrate.MIGRATIONS / "env.py", found)
    before = None
    for revision, phase in PHASES.items():
        make = "op.execute('CREATE TABLE t ()'); " if before is None else ""
        (found / "versions" / f"{revision}_x.py").write_text(
            f"from alembic import op\nrevision, down_revision, PHASE = {revision!r}, {before!r}, {phase!r}\n"
            f"def upgrade():\n    {make}op.execute('ALTER TABLE t ADD c{revision} int')\n")
        before = revision
    return found


async def test_before_goes_to_the_last_of_its_kind_and_after_does_the_rest(settings: Settings, directory: Path) -> None:
    url = settings.database.url.get_secret_value()
    db = Database(settings.database)
    await db.rows(sa.text("DROP TABLE alembic_version"))
    assert [step.phase for step in migrate.steps(directory)] == list(PHASES.values())
    assert migrate.too_old(directory) == {"0001", "0002"}
    assert await migrate.upgrade(url, phase=migrate.Phase.BEFORE, directory=directory) == ["0001", "0002", "0003"]
    assert await migrate.upgrade(url, phase=migrate.Phase.BEFORE, directory=directory) == []
    assert [step.revision for step in migrate.pending("0003", directory)] == ["0004"]
    assert await migrate.upgrade(url, phase=migrate.Phase.AFTER, directory=directory) == ["0004"]
    assert await migrate.current(url) == "0004"
    with pytest.raises(Misconfigured, match="a newer version has written it"):
        migrate.pending("9999", directory)
    await db.aclose()


async def test_a_deadlock_with_those_who_work_is_another_try(settings: Settings, directory: Path) -> None:
    """The migration waits first, so it is the one that the database ends."""
    url = settings.database.url.get_secret_value()
    db, engine = Database(settings.database), create_async_engine(url, poolclass=sa.pool.NullPool)
    await db.rows(sa.text("DROP TABLE alembic_version"))
    (directory / "versions" / "0001_x.py").write_text(
        "from alembic import op\nrevision, down_revision, PHASE = '0001', None, 'before'\n"
        "def upgrade():\n    op.execute('LOCK TABLE launch')\n    op.execute('LOCK TABLE image')\n    op.execute('CREATE TABLE t ()')\n")
    async with engine.connect() as other:
        await other.execute(sa.text("LOCK TABLE image"))
        migrating = asyncio.create_task(migrate.upgrade(url, "0001", directory=directory))
        async with asyncio.timeout(120):
            while not await db.rows(sa.text("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'image'::regclass")):
                await asyncio.sleep(0.02)
        await other.execute(sa.text("LOCK TABLE launch"))
        await other.commit()
    assert await asyncio.wait_for(migrating, 120) == ["0001"]
    await engine.dispose()
    await db.aclose()


async def test_nothing_is_removed_while_older_code_runs(settings: Settings) -> None:
    db = Database(settings.database)
    put = sa.text("INSERT INTO process (owner, name, host, version, facts) VALUES (:o, 'worker', 'h', '1', CAST(:f AS jsonb))")
    await db.rows(put, {"o": "new", "f": json.dumps({"schema": newest()})})
    assert await older(db) == []
    for owner, facts in (("ancient", {}), ("old", {"schema": "0003"})):
        await db.rows(put, {"o": owner, "f": json.dumps(facts)})
    assert await older(db) == ["ancient", "old"]
    await db.rows(sa.text("UPDATE alembic_version SET version_num = '0006'"))
    deeds = Deeds(dry=True)
    schema = Schema(db, settings.database, deeds, allowed=True)
    assert await schema.finish() == {"migrations": 0}
    await db.rows(sa.text("UPDATE process SET seen_at = now() - interval '2 minutes' WHERE owner <> 'new'"))
    assert (await schema.finish())["migrations"] >= 1
    assert deeds.told[0].startswith("migrate the schema to ")
    assert await Schema(db, settings.database, Deeds(), allowed=True).finish() == {"migrations": 0}  # they may be starting just now
    await db.aclose()


def test_every_migration_says_when_it_may_run() -> None:
    for path in sorted((migrate.MIGRATIONS / "versions").glob("0*.py"))[1:]:
        assert "\nPHASE = " in path.read_text(), path.name
