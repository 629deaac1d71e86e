"""What is answered when there is no room: for one more launch, or for one more who waits for the database."""

import asyncio

import sqlalchemy as sa

from services.db import Database
from services.errors import Overloaded
from services.names import new_id
from services.policy.bounds import Bounds, Refusal
from services.providers.base import Spec
from services.queue import Bell, Redis
from services.settings import Settings
from services.usecases.counting import Waits
from services.usecases.create import Creator, NewLaunch
from tests.faults.proxy import Proxy
from tests.services.db.test_engine import proxy

__all__ = ["proxy"]


def _new() -> NewLaunch:
    return NewLaunch(id=new_id(), spec=Spec("gh", "a/b/HEAD", "a/b", "HEAD"), caller="address:a", client="a")


async def test_whoever_is_refused_is_told_when_his_turn_comes(settings: Settings) -> None:
    db = Database(settings.database)
    await db.rows(sa.text("""
        INSERT INTO launch (id, state, caller, client, provider, spec, repo, ref, ready_at)
        SELECT 'l' || n, 'ready', 'c', 'c', 'git', 's', 'r', 'm', now() FROM generate_series(1, 30) n
    """))  # one every two seconds
    waits, refusal = Waits(db), Refusal("open_total", "", 15)
    told = [await waits.of(refusal, None) for _ in range(200)]  # type: ignore[arg-type]
    assert told[0] == 2
    assert len(set(told)) > 50  # each another moment
    assert max(told) == 300
    await db.aclose()


async def test_only_so_many_wait_for_a_database_that_is_away_and_all_of_them_are_served(
    proxy: tuple[Proxy, Settings], settings: Settings,
) -> None:
    door, behind = proxy
    db, redis = Database(behind.database.model_copy(update={"wait": 120.0, "waiting": 50}), patience=0.5), Redis(settings.redis)
    bell = Bell(redis, lambda _: None)
    creator = Creator(db, bell, Bounds())
    await creator.create(_new())
    door.refusing = True
    door.cut()
    asked = [asyncio.create_task(creator.create(_new())) for _ in range(400)]
    while not db.breaker.state().failures:
        await asyncio.sleep(0.01)
    refused = [asyncio.create_task(creator.create(_new())) for _ in range(10)]
    await asyncio.gather(*refused, return_exceptions=True)
    door.go_on()
    outcomes = await asyncio.gather(*asked, *refused, return_exceptions=True)
    wrong = [one for one in outcomes if isinstance(one, Exception)]
    assert {type(one) for one in wrong} == {Overloaded}
    assert len(wrong) == 410 - 50
    direct = Database(settings.database)
    rows = await direct.rows(sa.text("SELECT count(*) AS n FROM launch"))
    assert rows[0].n == 1 + 50
    for part in (bell, redis, db, direct):
        await part.aclose()
