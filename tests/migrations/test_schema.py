"""The migrations make what the models say, and can be taken back."""

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


def _down(connection: sa.Connection) -> None:
    config = migrate._config()
    config.attributes["connection"] = connection
    command.downgrade(config, "base")
