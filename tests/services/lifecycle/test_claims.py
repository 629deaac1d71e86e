"""Claims, leases and epochs, by the database's clock."""

import asyncio

import sqlalchemy as sa

from services.db import Database
from services.lifecycle import Claims, Work
from services.lifecycle.claims import Claimed
from services.settings import Settings
from tests.services.lifecycle.test_moves import insert

WORK = Work("launch", "launch", "c.state IN ('waiting', 'resolving')", ("target", "state"))


async def waiting(db: Database, *launches: str) -> None:
    for launch in launches:
        await insert(db, launch)
    await db.rows(sa.text("UPDATE launch SET lease_owner = NULL"))


async def test_a_row_is_claimed_by_one_of_many(db: Database) -> None:
    await waiting(db, *[f"l{n}" for n in range(30)])
    owners = [Claims(db, WORK, f"owner{n}", 60) for n in range(5)]
    found = [one.id for batch in await asyncio.gather(*[owner.claim(10) for owner in owners]) for one in batch]
    assert sorted(found) == sorted(f"l{n}" for n in range(30))


async def lapsed(db: Database, claims: Claims) -> Claimed:
    """The next claim of the row, whose lease has just run out."""
    await db.rows(sa.text("UPDATE launch SET lease_until = now()"))
    return (await claims.claim(5))[0]


async def test_a_take_over_raises_the_epoch_and_counts_a_crash(db: Database, settings: Settings) -> None:
    await waiting(db, "one")
    other = Database(settings.database, application="dockyard-api")
    await other.rows(sa.text("SELECT 1"))
    first = (await Claims(db, WORK, "first", 60).claim(5))[0]
    assert await Claims(db, WORK, "second", 60).claim(5) == []
    second = await lapsed(db, Claims(db, WORK, "second", 0))
    assert (second.epoch, second.crashes) == (first.epoch + 1, 1)
    assert await Claims(db, WORK, "first", 60).renew([("one", first.epoch)]) == {}
    assert await Claims(db, WORK, "second", 60).renew([("one", second.epoch)]) == {"one": "ready"}
    await other.aclose()


async def test_an_owner_that_went_down_with_everybody_else_is_no_crash(db: Database, settings: Settings) -> None:
    await waiting(db, "one")
    other = Database(settings.database, application="dockyard-api")
    await other.rows(sa.text("SELECT 1"))
    first = (await Claims(db, WORK, "first", 0).claim(5))[0]
    await other.aclose()  # The connection of this test is nobody's who could have lived on.
    while await db.rows(sa.text("SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'dockyard-%'")):
        await db.rows(sa.text("SELECT pg_sleep(0.02)"))
    other = Database(settings.database, application="dockyard-api")
    await other.rows(sa.text("SELECT 1"))
    second = (await Claims(db, WORK, "second", 0).claim(5))[0]
    assert (second.epoch, second.crashes) == (first.epoch + 1, 0)
    await other.aclose()


async def test_what_is_given_back_is_free_at_once_and_no_crash(db: Database) -> None:
    await waiting(db, "one")
    claims = Claims(db, WORK, "first", 60)
    first = (await claims.claim(5))[0]
    await claims.release([("one", first.epoch)])
    second = (await Claims(db, WORK, "second", 60).claim(5))[0]
    assert second.crashes == 0
    await claims.release([("one", first.epoch)])  # the old owner cannot take it away again
    assert await Claims(db, WORK, "third", 60).claim(5) == []


async def test_what_is_not_due_is_left_alone(db: Database) -> None:
    await waiting(db, "one")
    await db.rows(sa.text("UPDATE launch SET due = now() + interval '1 hour'"))
    assert await Claims(db, WORK, "first", 60).claim(5) == []


async def test_the_claim_uses_its_partial_index_among_many_ended_rows(db: Database) -> None:
    await db.rows(sa.text("""
        INSERT INTO launch (id, state, caller, client, provider, spec, repo, ref)
        SELECT 'old' || n, 'stopped', 'c', 'a', 'git', 's', 'r', 'HEAD' FROM generate_series(1, 5000) n
    """))
    await waiting(db, "one")
    await db.rows(sa.text("ANALYZE launch"))
    plan = await db.rows(sa.text(f"EXPLAIN SELECT id FROM launch c WHERE {WORK.where} AND due <= now() ORDER BY due LIMIT 5"))
    assert any("launch_resolve" in row[0] for row in plan)
