"""A database that goes away in the middle of things, through a proxy that breaks connections."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database
from services.db.engine import DatabaseGone
from services.settings import Settings
from tests.faults.proxy import Proxy

SLEEP = sa.text("SELECT pg_sleep(:seconds)")


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[tuple[Proxy, Settings]]:
    """A proxy before the test's database, and settings that lead through it."""
    url = settings.database.url.get_secret_value()
    there = parse_qs(urlsplit(url).query)["host"][0]
    with TemporaryDirectory(prefix="door-") as door:
        behind = settings.database.model_copy(update={
            "url": SecretStr(url.replace(f"host={there}", f"host={door}")), "pool": 2, "wait": 120.0})
        async with Proxy(Path(door) / ".s.PGSQL.5432", Path(there) / ".s.PGSQL.5432") as found:
            yield found, replace(settings, database=behind)


async def test_a_connection_that_is_cut_in_the_middle_of_a_statement_is_made_again(proxy: tuple[Proxy, Settings]) -> None:
    found, settings = proxy
    db = Database(settings.database)
    asking = [asyncio.create_task(db.rows(SLEEP, {"seconds": 0.5})) for _ in range(6)]
    for _ in range(4):
        await asyncio.sleep(0.1)
        found.cut()
    assert [len(rows) for rows in await asyncio.gather(*asking)] == [1] * 6
    await db.aclose()


async def test_a_connection_that_never_answers_again_is_given_up(proxy: tuple[Proxy, Settings]) -> None:
    found, settings = proxy
    db = Database(settings.database, patience=1.0)
    await asyncio.gather(*[db.rows(SLEEP, {"seconds": 0.2}) for _ in range(2)])
    found.half_open()
    assert len(await asyncio.gather(*[db.rows(SLEEP, {"seconds": 0.1}) for _ in range(6)])) == 6
    await db.aclose()


async def test_callers_who_get_no_connection_are_told_that_the_database_is_away(proxy: tuple[Proxy, Settings]) -> None:
    found, settings = proxy
    db = Database(settings.database, patience=0.5)
    await db.rows(SLEEP, {"seconds": 0})
    found.blackhole()
    db._wait = 1.0
    answers = await asyncio.gather(*[db.rows(SLEEP, {"seconds": 0}) for _ in range(6)], return_exceptions=True)
    assert {type(answer) for answer in answers} == {DatabaseGone}
    found.go_on()
    db._wait = 120.0
    assert len(await db.rows(SLEEP, {"seconds": 0})) == 1
    await db.aclose()


async def test_a_full_disk_is_waited_for(settings: Settings) -> None:
    db = Database(settings.database)
    await db.rows(sa.text("CREATE SEQUENCE tries"))
    full = "IF nextval('tries') < 3 THEN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END IF;"
    await db.rows(sa.text(f"DO $$ BEGIN {full} END $$"))
    assert (await db.rows(sa.text("SELECT last_value FROM tries")))[0].last_value == 3
    await db.aclose()


async def test_a_process_that_sleeps_in_a_transaction_holds_up_nobody_for_long(settings: Settings) -> None:
    db, other = Database(settings.database, patience=1.0), Database(settings.database)
    lock, tries = sa.text("SELECT pg_advisory_xact_lock(1)"), []

    async def sleeps(conn: AsyncConnection) -> int:
        await conn.execute(lock)
        tries.append(1)
        if len(tries) == 1:
            await other.rows(lock)  # has it as soon as the first try has lost it
        return len((await conn.execute(sa.text("SELECT 1"))).all())

    assert await db.run(sleeps) == 1
    assert len(tries) >= 2
    await db.aclose()
    await other.aclose()
