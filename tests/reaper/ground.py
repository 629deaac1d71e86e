"""What the tests of sweeps stand on: a hub that starts nothing, rows of ready launches, a runtime made of a list."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from bench.mock_hub import Connection
from bench.mock_hub import Hub as MockHub
from services.db import Database
from services.events import Wake
from services.lifecycle import Teller
from services.queue import Bell, Redis
from services.runtimes.base import Thing
from services.settings import Settings
from services.states import LaunchState
from tests.services.lifecycle.test_moves import insert


@asynccontextmanager
async def mock_hub() -> AsyncIterator[tuple[MockHub, str]]:
    hub = MockHub()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(hub), "127.0.0.1", 0)
    yield hub, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hub/api/"
    server.close()
    for link in tuple(hub.links):
        link.abort()
    await server.wait_closed()


@asynccontextmanager
async def a_teller(settings: Settings) -> AsyncIterator[Teller]:
    redis, db = Redis(settings.redis), Database(settings.database)
    bell = Bell(redis, lambda queue: None)
    found = Teller(db, Wake(redis), bell)
    yield found
    await found.aclose()
    await found.wake.aclose()
    await bell.aclose()
    await redis.aclose()
    await db.aclose()


def user(hub: MockHub, name: str, *, used: float | None = None, created: float | None = None) -> None:
    """A user whose server runs; `used` and `created` are seconds ago, long ago where they are not given."""
    hub.users[name] = {}
    hub.start(name, "", 0.0)
    hub.told[name] = {
        key: (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
        for key, ago in (("last_activity", used), ("created", created)) if ago is not None
    }


async def serve(teller: Teller, name: str, *, live: bool = True, ready: float = 0, watched: float | None = None, url: str = "") -> None:
    """A launch that got ready so many seconds ago, with its server's row; not `live`: both ended long ago."""
    await insert(teller.db, name, LaunchState.READY if live else LaunchState.STOPPED)
    await teller.db.rows(sa.text("""
        UPDATE launch SET ready_at = now() - :ready * interval '1 second', watched_at = now() - :watched * interval '1 second',
          lease_owner = NULL, url = :url WHERE id = :name
    """).bindparams(sa.bindparam("watched", type_=sa.Float)), {"ready": ready, "watched": watched, "name": name, "url": url})
    await teller.db.rows(sa.text("""
        INSERT INTO server (id, launch, attempt, image, user_name, state, stopped_at)
        VALUES (:name, :name, 1, 'i', :name, :state, CASE WHEN :live THEN NULL ELSE now() - interval '1 hour' END)
    """), {"name": name, "state": "running" if live else "stopped", "live": live})


async def targets(teller: Teller) -> dict[str, str | None]:
    """The launches that shall stop, and why."""
    return {row.id: row.stop_reason for row in await teller.db.rows(sa.text("SELECT id, stop_reason FROM launch WHERE target = 'stopped'"))}


class Listed:
    """A reality made of a list."""

    def __init__(self, *things: Thing) -> None:
        self.there = list(things)

    async def things(self) -> list[Thing]:
        return list(self.there)

    async def clear(self, thing: Thing) -> None:
        self.there.remove(thing)


def thing(kind: str, name: str, owner: str = "", *, ago: float = 3600) -> Thing:
    """Something that came to be so many seconds ago."""
    return Thing(kind, name, owner, time.time() - ago)
