"""What the sweeps over servers find, on real rows and a hub that starts nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from bench.mock_hub import Connection
from bench.mock_hub import Hub as MockHub
from reaper.servers import Servers
from services.db import Database
from services.events import Wake
from services.hub.client import Hub
from services.lifecycle import Teller
from services.queue import Bell, Redis
from services.settings import HubSettings, ReaperSettings, Settings
from services.states import LaunchState
from tests.services.lifecycle.test_moves import insert


class Running:
    """A runtime in which these servers run."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    async def running(self) -> list[str]:
        return sorted(self.names)

    async def remove(self, name: str) -> None:
        self.names.discard(name)


@pytest.fixture
async def mock() -> AsyncIterator[tuple[MockHub, str]]:
    hub = MockHub()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(hub), "127.0.0.1", 0)
    yield hub, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hub/api/"
    server.close()
    await server.wait_closed()


@pytest.fixture
async def teller(settings: Settings) -> AsyncIterator[Teller]:
    redis, db = Redis(settings.redis), Database(settings.database)
    bell = Bell(redis, lambda queue: None)
    found = Teller(db, Wake(redis), bell)
    yield found
    await found.aclose()
    await found.wake.aclose()
    await bell.aclose()
    await redis.aclose()
    await db.aclose()


def user(hub: MockHub, name: str) -> None:
    hub.users[name] = {}
    hub.start(name, "", 0.0)


async def serve(teller: Teller, name: str, *, live: bool = True, ready_seconds_ago: float = 0) -> None:
    """A ready launch with its server's row; not `live`: both have ended."""
    await insert(teller.db, name, LaunchState.READY if live else LaunchState.STOPPED)
    await teller.db.rows(sa.text("""
        UPDATE launch SET ready_at = now() - :ago * interval '1 second', lease_owner = NULL WHERE id = :name
    """), {"ago": ready_seconds_ago, "name": name})
    await teller.db.rows(sa.text("""
        INSERT INTO server (id, launch, attempt, image, user_name, state) VALUES (:name, :name, 1, 'i', :name, :state)
    """), {"name": name, "state": "running" if live else "stopped"})


async def targets(teller: Teller) -> dict[str, str | None]:
    return {row.id: row.stop_reason for row in await teller.db.rows(sa.text("SELECT id, stop_reason FROM launch WHERE target = 'stopped'"))}


@pytest.mark.parametrize("exclusive", [True, False])
async def test_only_users_of_ours_are_removed_from_a_shared_hub(
    teller: Teller, mock: tuple[MockHub, str], exclusive: bool,
) -> None:
    hub, url = mock
    for name in ("served", "over", "somebody"):
        user(hub, name)
    await serve(teller, "served")
    await serve(teller, "over", live=False)
    runtime = Running("served", "over", "stray")
    async with Hub(HubSettings(url=url, token="t")) as client:
        servers = Servers(teller, client, runtime, ReaperSettings(orphan_age=0), exclusive=exclusive)
        found = await servers.orphans()
    assert set(hub.users) == ({"served"} if exclusive else {"served", "somebody"})
    assert runtime.names == {"served"}
    assert found == {"hub_users": 2 if exclusive else 1, "servers": 2}


async def test_nothing_young_is_removed(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    user(hub, "stray")
    async with Hub(HubSettings(url=url, token="t")) as client:
        servers = Servers(teller, client, Running(), ReaperSettings(orphan_age=600), exclusive=True)
        await servers.orphans()
        await servers.orphans()
    assert set(hub.users) == {"stray"}


async def test_idle_old_and_lost_servers_end_each_for_its_reason(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    for name, ago in (("fresh", 10), ("idle", 700), ("old", 9000), ("lost", 10)):
        await serve(teller, name, ready_seconds_ago=ago)
        if name != "lost":
            user(hub, name)
    # The mock hub's activity is long ago, so what counts is when the server became ready.
    async with Hub(HubSettings(url=url, token="t")) as client:
        settings = ReaperSettings(idle=600, max_age=7200)
        found = await Servers(teller, client, Running(), settings, exclusive=True).cull()
    assert found == {"idle": 1, "max_age": 1, "lost": 1}
    assert await targets(teller) == {"idle": "idle", "old": "max-age", "lost": "lost"}


async def test_zero_means_never(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    await serve(teller, "old", ready_seconds_ago=1e6)
    user(hub, "old")
    async with Hub(HubSettings(url=url, token="t")) as client:
        await Servers(teller, client, Running(), ReaperSettings(idle=0, max_age=0), exclusive=True).cull()
    assert await targets(teller) == {}
