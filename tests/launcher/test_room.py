"""The bound on servers: how many launches are claimed while places are taken."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from launcher.main import STOP, work
from services.db import Database
from services.lifecycle import Claims
from services.settings import Settings
from services.states import LaunchState
from tests.services.lifecycle.test_moves import insert


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    found = Database(settings.database)
    for n in range(6):
        await insert(found, f"waiting{n}", LaunchState.LAUNCHING)
    for n in range(3):
        await insert(found, f"ready{n}", LaunchState.READY)
    await found.rows(sa.text("UPDATE launch SET lease_owner = NULL"))
    yield found
    await found.aclose()


async def claimed(db: Database, limit: int, owner: str = "me") -> set[str]:
    return {one.id for one in await Claims(db, work(limit), owner, 60).claim(100)}


async def test_without_a_bound_all_are_claimed(db: Database) -> None:
    assert len(await claimed(db, 0)) == 6


async def test_only_free_places_are_filled_and_the_next_when_one_is_free(db: Database) -> None:
    assert len(await claimed(db, 5)) == 2
    assert await claimed(db, 5) == set()
    await db.rows(sa.text("UPDATE launch SET state = 'stopped' WHERE id = 'ready0'"))
    assert len(await claimed(db, 5)) == 1


async def test_many_launchers_do_not_overfill(db: Database) -> None:
    found = await asyncio.gather(*[claimed(db, 7, f"owner{n}") for n in range(6)])
    assert sum(len(one) for one in found) <= 4
    while more := await claimed(db, 7):
        found.append(more)
    assert sum(len(one) for one in found) == 4


async def test_stopping_needs_no_place(db: Database) -> None:
    await db.rows(sa.text("UPDATE launch SET target = 'stopped' WHERE id = 'ready1'"))
    assert await claimed(db, 3) == set()
    assert {one.id for one in await Claims(db, STOP, "me", 60).claim(100)} == {"ready1"}


async def test_a_launch_of_a_dead_launcher_keeps_its_place(db: Database) -> None:
    assert len(await claimed(db, 4)) == 1
    await db.rows(sa.text("UPDATE launch SET lease_until = now() - interval '1 second' WHERE lease_owner IS NOT NULL"))
    assert len(await claimed(db, 4, "next")) == 1
