"""One launch at a hub that asks for patience, and with a database that goes away: what the rows say afterwards."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from bench.mock_hub import Behaviour, serve
from bench.mock_hub import Hub as MockHub
from launcher.launching import Launching
from launcher.main import LAUNCH
from services.db import Database, DatabaseGone
from services.errors import LeaseLost
from services.events import Wake
from services.hub.client import Hub
from services.lifecycle import Claims, Lease, Teller
from services.queue import Bell, Redis
from services.runtimes import make_images
from services.secrets import Secret
from services.settings import HubSettings, Settings
from tests.faults.proxy import Proxy
from tests.services.db.test_engine import proxy
from tests.services.lifecycle.test_moves import insert, state

__all__ = ["proxy"]


@asynccontextmanager
async def launching(settings: Settings, db: Database, path: Path, behaviour: Behaviour) -> AsyncIterator[tuple[Launching, MockHub]]:
    """A launcher's work with a hub of its own."""
    mock = MockHub(behaviour)
    server = await serve(mock, path=str(path))
    redis = Redis(settings.redis)
    url = f"http+unix://{str(path).replace('/', '%2f')}/hub/api/"
    hub_settings = HubSettings(url=url, public_url="http://localhost:1/", token=SecretStr("t"), retry_delay=0.0)
    teller = Teller(db, Wake(redis), Bell(redis, lambda _: None))
    try:
        async with Hub(hub_settings) as hub:
            found = Launching(teller, hub, make_images(settings), Secret("00" * 32), hub_settings, settings.builds)
            yield found, mock
    finally:
        for part in (found, teller, teller.wake, teller.bell, redis):
            await part.aclose()
        server.close()
        await server.wait_closed()


async def claim(db: Database, owner: str = "me") -> Lease:
    return Lease((await Claims(db, LAUNCH, owner, 60).claim(1))[0])


async def begin(db: Database, launch: str) -> None:
    await insert(db, launch, "launching")
    await db.rows(sa.text("UPDATE launch SET lease_owner = NULL, image = 'i', repo_url = 'https://e.org/r', resolved_ref = 'c'"))


async def servers(db: Database) -> list[tuple[int, str]]:
    return [(row.attempt, row.state) for row in await db.rows(sa.text("SELECT attempt, state FROM server ORDER BY attempt"))]


async def test_a_server_that_the_hub_had_no_room_for_at_first_has_a_row_that_runs(settings: Settings, tmp_path: Path) -> None:
    db = Database(settings.database)
    async with launching(settings, db, tmp_path / "hub.sock", Behaviour(busy_every=2)) as (work, mock):
        mock.counts["asked"] = 1  # the next one is refused
        await begin(db, "one")
        await work.work(await claim(db))
        row = await state(db, "one")
        assert (row.state, row.attempt) == ("launching", 1)
        await db.rows(sa.text("UPDATE launch SET due = now()"))
        await work.work(await claim(db))
        assert (await state(db, "one")).state == "ready"
        assert await servers(db) == [(1, "running")]
    await db.aclose()


async def test_a_launcher_that_slept_through_its_lease_starts_nothing(settings: Settings, tmp_path: Path) -> None:
    db = Database(settings.database)
    async with launching(settings, db, tmp_path / "hub.sock", Behaviour()) as (work, mock):
        await begin(db, "one")
        old = await claim(db)
        await db.rows(sa.text("UPDATE launch SET epoch = epoch + 1, state = 'cancelled', ended_at = now()"))
        with pytest.raises(LeaseLost):
            await work.work(old)
        assert await servers(db) == []
        assert mock.users == {}
    await db.aclose()


async def test_a_database_that_is_away_for_long_is_no_failure_of_the_server(
    proxy: tuple[Proxy, Settings], settings: Settings, tmp_path: Path,
) -> None:
    door, behind = proxy
    direct = Database(settings.database)
    db = Database(behind.database.model_copy(update={"wait": 30.0}), patience=2.0)
    async with launching(settings, db, tmp_path / "hub.sock", Behaviour(delay=0.6)) as (work, mock):
        await begin(direct, "one")
        working = asyncio.create_task(work.work(await claim(direct)))
        while not mock.counts["starts"] and not working.done():
            await asyncio.sleep(0.01)
        door.blackhole()
        db._wait = 0.5  # for what is asked from here on
        with pytest.raises(DatabaseGone):
            await working
        door.go_on()
        assert await servers(direct) == [(1, "starting")]
        assert json.dumps([row.kind for row in await direct.rows(sa.text("SELECT kind FROM event"))]).count("retrying") == 0
        assert (await state(direct, "one")).attempt == 1
    await db.aclose()
    await direct.aclose()
