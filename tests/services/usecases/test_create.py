"""Accepting launches: what the bounds count and whom they concern."""

from collections.abc import AsyncIterator

import pytest

from services.db import Database
from services.errors import Overloaded
from services.names import new_id
from services.policy.bounds import Bounds
from services.providers.base import Spec
from services.queue import Bell, Redis
from services.settings import Settings
from services.usecases.create import Creator, NewLaunch

SPEC = Spec("gh", "a/b/HEAD", "a/b", "HEAD")


@pytest.fixture
async def creator(settings: Settings) -> AsyncIterator[Creator]:
    redis, db = Redis(settings.redis), Database(settings.database)
    bell = Bell(redis, lambda queue: None)
    yield Creator(db, bell, Bounds(open_per_client=1, open_total=2))
    await bell.aclose()
    await redis.aclose()
    await db.aclose()


def wish(client: str, key: str = "") -> NewLaunch:
    return NewLaunch(id=new_id(), spec=SPEC, caller=f"address:{client}", client=client, idempotency_key=key)


async def test_a_repeated_request_gets_its_launch_also_at_the_bound(creator: Creator) -> None:
    first = await creator.create(wish("a", "key"))
    with pytest.raises(Overloaded):
        await creator.create(wish("a"))
    again = await creator.create(wish("a", "key"))
    assert (again.id, again.repeated) == (first.id, True)
    await creator.create(wish("b"))
    again = await creator.create(wish("a", "key"))  # and where everybody's bound is reached too
    assert (again.id, again.repeated) == (first.id, True)
    with pytest.raises(Overloaded):
        await creator.create(wish("c", "key"))  # the same words of somebody else are another key
