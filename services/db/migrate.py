"""Brings a database to the newest revision, under lock and statement timeouts.

A migration that has to wait for a lock makes every later query wait behind it; so it gives up after `lock_timeout`
and is tried again, instead of standing in the way. One session-level advisory lock lets only one process migrate at a
time. """

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 0x646F636B  # "dock"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def heads() -> list[str]:
    """The newest revisions; more than one is a mistake."""
    return list(ScriptDirectory.from_config(_config()).get_heads())


def _upgrade(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def upgrade(url: str, revision: str = "head") -> None:
    """Migrate the database at `url`; returns at once where it is current."""
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.connect() as conn:
            await conn.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            await conn.execute(text("SET lock_timeout = '5s'"))
            await conn.execute(text("SET statement_timeout = '60s'"))
            await conn.commit()
            await conn.run_sync(_upgrade, revision)
            await conn.commit()
    finally:
        await engine.dispose()


async def current(url: str) -> str | None:
    """The revision of the database at `url`, or None where nothing has been made yet."""
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.connect() as conn:
            found = await conn.scalar(text("SELECT to_regclass('alembic_version')"))
            return str(await conn.scalar(text("SELECT version_num FROM alembic_version"))) if found else None
    finally:
        await engine.dispose()


def run(url: str) -> None:
    """`upgrade` for callers without an event loop."""
    asyncio.run(upgrade(url))
