"""Accepting launches: what the bounds count and whom they concern."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

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


async def test_who_is_refused_a_place_is_told_when_the_next_one_is_due(settings: Settings) -> None:
    redis, db = Redis(settings.redis), Database(settings.database)
    bell = Bell(redis, lambda queue: None)
    creator = Creator(db, bell, Bounds(servers_per_client=2, servers_per_network=9))
    new = replace(wish("203.0.113.1"), repository="github.com/a/b")
    for launch, seconds in ((new, 4000), (replace(new, id=new_id()), 290)):
        await creator.create(launch)
        await db.rows(sa.text("UPDATE launch SET state = 'ready' WHERE id = :id"), {"id": launch.id})
        await db.rows(sa.text("""
            INSERT INTO server (id, launch, attempt, image, user_name, state, ends_at)
            VALUES (:id, :id, 1, 'i', :id, 'running', now() + :seconds * interval '1 second')"""), {"id": launch.id, "seconds": seconds})
    for asked, limit in ((new, "servers_per_client"), (replace(new, client="203.0.113.2", quota=2), "servers_per_repository")):
        with pytest.raises(Overloaded) as refused:
            await creator.create(replace(asked, id=new_id()))
        assert refused.value.limit == limit
        assert 100 <= refused.value.retry_after <= 290
    assert (await creator.create(replace(new, id=new_id(), client="203.0.113.2"))).repeated is False
    for part in (bell, redis, db):
        await part.aclose()


async def test_a_try_that_was_committed_unheard_is_found_again_at_the_bound(creator: Creator, settings: Settings) -> None:
    new = wish("a")
    await creator.create(new)
    db = Database(settings.database)
    async with db.engine.begin() as conn:
        (outcome,) = await creator._accept(conn, [new], again=True)
    assert outcome.earlier is not None
    await db.aclose()
