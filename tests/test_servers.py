"""The suite's own servers: each test has a database to itself, already migrated."""

import asyncpg
import redis.asyncio

from services.settings import Settings
from tests.servers import plain


async def _tables(url: str) -> set[str]:
    connection = await asyncpg.connect(plain(url))
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        await connection.execute("CREATE TABLE mine (n int)")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


async def test_database_is_migrated_and_new(database_url: str) -> None:
    tables = await _tables(database_url)
    assert "alembic_version" in tables
    assert "mine" not in tables


async def test_the_next_test_does_not_see_it(database_url: str) -> None:
    assert "mine" not in await _tables(database_url)


async def test_valkey_answers(settings: Settings) -> None:
    async with redis.asyncio.Redis.from_url(settings.redis.url.get_secret_value()) as client:
        assert await client.dbsize() == 0
        await client.set("left", "behind")


async def test_valkey_is_emptied(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
