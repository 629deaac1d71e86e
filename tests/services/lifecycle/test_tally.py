"""Counts of outcomes: each once, whoever counts, whichever process dies."""

import asyncio
import time

import sqlalchemy as sa

from services.db import Database
from services.events import Kind, NewEvent
from services.lifecycle.builds import Finish, finish
from services.lifecycle.moves import Move, move_launches
from services.lifecycle.tally import Counting
from services.states import BuildState, LaunchState

S = LaunchState
STEPS = {
    "resolving": (S.RESOLVING, NewEvent(Kind.RESOLVING)), "building": (S.BUILDING, NewEvent(Kind.BUILDING)),
    "built": (S.LAUNCHING, NewEvent(Kind.BUILT)), "launching": (S.LAUNCHING, NewEvent(Kind.LAUNCHING)),
    "retrying": (None, NewEvent(Kind.RETRYING)), "ready": (S.READY, NewEvent(Kind.READY)),
    "stopping": (S.STOPPING, NewEvent(Kind.STOPPING)),
    "stopped": (S.STOPPED, NewEvent(Kind.STOPPED, {"why": "idle"})),
    "failed": (S.FAILED, NewEvent(Kind.FAILED, {"reason": {"code": "build_failed"}})), "cancelled": (S.CANCELLED, NewEvent(Kind.CANCELLED)),
}


async def launch(db: Database, name: str, *steps: str) -> None:
    await db.rows(sa.text("""
        WITH l AS (INSERT INTO launch (id, state, seq, caller, client, provider, spec, repo, ref)
          VALUES (:id, 'waiting', 1, 'c', 'a', 'gh', 's', 'r', 'HEAD'))
        INSERT INTO event (launch, seq, kind, state, data) VALUES (:id, 1, 'waiting', 'waiting', '{}')
    """), {"id": name})
    for step in steps:
        to, event = STEPS[step]
        move = Move(name, to, (event,), allowed=frozenset(S) if step == "launching" else None)  # in production with the one before
        assert await db.run(lambda conn, move=move: move_launches(conn, [move])), (name, step)


async def totals(db: Database) -> dict[tuple[str, ...], int]:
    rows = await db.rows(sa.text("""
        SELECT measure, status, detail, sum(number)::int AS n FROM tally WHERE at = '-infinity' GROUP BY 1, 2, 3
    """))
    return {tuple(filter(None, (row.measure, row.status, row.detail))): row.n for row in rows}


async def counted(counting: Counting) -> None:
    """Count to the end. Transactions of other tests may hold the newest events back for a moment."""
    async with asyncio.timeout(60):
        while True:
            await counting.count()
            rest = await counting._db.rows(sa.text(
                "SELECT count(*) AS n FROM event e, outlet o WHERE (e.xact, e.launch, e.seq) > (o.xact, o.launch, o.seq)"))
            if rest[0].n == 0:
                return
            await asyncio.sleep(0.02)


async def test_every_outcome_is_counted_once(db: Database) -> None:
    await launch(db, "a", "resolving", "building", "built", "launching", "retrying", "ready", "stopping", "stopped")
    await launch(db, "b", "resolving", "building", "failed")
    first, second = Counting(db, "first"), Counting(db, "second")
    await counted(first)
    assert await second.count() is None  # the first has the cursor
    await first.aclose()
    await launch(db, "c", "resolving", "cancelled")
    await launch(db, "d", "resolving", "failed")
    await counted(second)
    await counted(second)
    found = await totals(db)
    assert {key: n for key, n in found.items() if key[0] != "step"} == {
        ("outcome", "ready"): 1, ("outcome", "stopped", "idle"): 1, ("outcome", "failed", "build_failed"): 2, ("outcome", "cancelled"): 1,
        ("hub", "success", "1"): 1, ("hub", "retry", "0"): 1, ("wait", "success"): 1, ("wait", "failure"): 1,
    }
    assert {key[1]: n for key, n in found.items() if key[0] == "step"} == {"waiting": 4, "resolving": 4, "building": 2, "launching": 1}
    minutes = await db.rows(sa.text("SELECT measure, sum(number)::int AS n FROM tally WHERE at > '-infinity' GROUP BY 1"))
    assert [(row.measure, row.n) for row in minutes] == [("outcome", 5)]


async def test_a_counter_that_dies_between_its_counts_loses_nothing(db: Database) -> None:
    dead = Counting(db, "dead")
    await launch(db, "a", "resolving", "failed")
    await counted(dead)
    await launch(db, "b", "resolving", "failed")
    await db.rows(sa.text("UPDATE outlet SET lease_until = now() - interval '1 second'"))  # it is not heard of any more
    heir = Counting(db, "heir")
    await counted(heir)
    assert await dead.count() is None
    assert (await totals(db))["outcome", "failed", "build_failed"] == 2


async def test_a_database_from_a_dump_is_noticed(db: Database) -> None:
    counting = Counting(db, "one")
    await launch(db, "old", "resolving", "failed")
    await counted(counting)
    await db.rows(sa.text("UPDATE outlet SET xact = xact + 1000000000"))  # as after a dump of a server that had had more transactions
    await db.rows(sa.text("UPDATE event SET xact = xact + 1000000000"))
    await counting.count()
    await launch(db, "new", "resolving", "failed")
    await counted(counting)
    assert (await totals(db))["outcome", "failed", "build_failed"] == 2


async def test_builds_are_counted_where_they_end(db: Database) -> None:
    begun = time.monotonic()
    for name in ("good", "bad"):
        await db.rows(sa.text("""
            INSERT INTO build (id, image, provider, repo_url, commit, state, epoch, started_at, marks)
            VALUES (:id, :id, 'gh', 'https://e.org/x', 'c', 'building', 1, now() - interval '20 seconds',
              jsonb_build_object('fetching', extract(epoch FROM now())::float8 - 20, 'building', extract(epoch FROM now())::float8 - 10))
        """), {"id": name})
    await db.run(lambda conn: finish(conn, "good", 1, Finish(BuildState.BUILT)))
    await db.run(lambda conn: finish(conn, "bad", 1, Finish(BuildState.FAILED, {"code": "build_failed", "message": "m", "hint": ""})))
    found = await totals(db)
    assert found == {
        ("build", "built"): 1, ("build", "failed", "build_failed"): 1,
        ("build_step", "queued"): 2, ("build_step", "fetching"): 2, ("build_step", "building"): 2,
    }
    (row,) = await db.rows(sa.text("SELECT sum(seconds) AS s FROM tally WHERE at = '-infinity' AND measure = 'build'"))
    assert 40 <= row.s <= 40 + 2 * (time.monotonic() - begun)
