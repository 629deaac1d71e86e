"""The migrations make what the models say, and can be taken back."""

import asyncio

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from services.db import migrate
from services.models import Base


async def test_the_migrated_database_is_the_models(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as conn:
        differences = await conn.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), Base.metadata))
    await engine.dispose()
    assert differences == []


async def test_the_newest_revision_is_reached_and_said(database_url: str) -> None:
    await migrate.upgrade(database_url)  # again: nothing to do
    assert [await migrate.current(database_url)] == migrate.heads()


async def test_the_schema_can_be_taken_back_and_made_again(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as conn:
        await conn.run_sync(_down)
        await conn.commit()
        assert (await conn.execute(sa.text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))).scalar() == 1
    await engine.dispose()
    await migrate.upgrade(database_url)
    assert [await migrate.current(database_url)] == migrate.heads()


async def test_an_index_that_was_interrupted_is_made_again_and_a_good_one_is_left(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as conn:
        await conn.execute(sa.text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('launch_failed')"))
        await conn.execute(sa.text("DROP INDEX event_news"))
        await conn.execute(sa.text("CREATE INDEX launch_client ON launch (client)"))
        await conn.execute(sa.text("UPDATE alembic_version SET version_num = '0008'"))
        await conn.commit()
        before = dict((await conn.execute(_INDEXES)).all())
        await conn.commit()
        migrations = [migrate.upgrade(database_url) for _ in range(3)]  # as three processes that start
        assert sorted(await asyncio.gather(*migrations)) == [[], [], ["0009"]]
        after = dict((await conn.execute(_INDEXES)).all())
    await engine.dispose()
    assert after.keys() == before.keys() - {"launch_client"} | {"event_news"}
    assert [name for name, made in before.items() if after.get(name, made) != made] == ["launch_failed"]
    await test_the_migrated_database_is_the_models(database_url)


_INDEXES = sa.text("SELECT c.relname, i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t "
                   "ON t.oid = i.indrelid WHERE t.relnamespace = 'public'::regnamespace AND (i.indisvalid OR c.relname = 'launch_failed')")


def _down(connection: sa.Connection) -> None:
    config = migrate._config()
    config.attributes["connection"] = connection
    command.downgrade(config, "base")
