"""How sweeps run, with a database and a hub that do not answer."""

import asyncio

import sqlalchemy as sa

from reaper.main import lanes
from reaper.sweeps import Findings, Sweeps
from services.db import Database
from services.errors import Unreachable
from services.settings import Settings
from services.tasks import end
from tests.faults.proxy import Proxy
from tests.services.db.test_engine import proxy

__all__ = ["proxy"]


async def test_a_sweep_without_a_database_is_put_off(proxy: tuple[Proxy, Settings]) -> None:
    door, settings = proxy
    db = Database(settings.database.model_copy(update={"wait": 0.3}), patience=0.3)
    runs = 0

    async def sweep() -> Findings:
        nonlocal runs
        runs += 1
        return {}

    sweeps = Sweeps(db, {"nudge": sweep})
    door.refusing = True
    assert await sweeps.run("nudge", 0) is None
    door.refusing = False
    assert runs == 0
    async with asyncio.timeout(120):
        while await sweeps.run("nudge", 0) is None:
            pass
    assert runs >= 1
    await db.aclose()


async def test_a_hub_that_does_not_answer_holds_up_no_other_sweep(settings: Settings) -> None:
    db = Database(settings.database)
    begun, nudged = asyncio.Event(), asyncio.Event()

    async def hangs() -> Findings:
        begun.set()
        await asyncio.Event().wait()
        return {}

    async def nudges() -> Findings:
        nudged.set()
        return {}

    every = {"cull": 10.0, "users": 10.0, "nudge": 10.0}
    ask, works = lanes(Sweeps(db, {"cull": hangs, "users": hangs, "nudge": nudges}), every)
    tasks = [asyncio.create_task(work) for work in works]
    ask("cull", "nonsense")
    await begun.wait()
    ask("users", "nudge")
    await asyncio.wait_for(nudged.wait(), 120)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await db.aclose()


async def test_a_sweep_that_fails_is_tried_again_long_before_its_next_turn(settings: Settings) -> None:
    db = Database(settings.database)
    runs, done = 0, asyncio.Event()

    async def fails_twice() -> Findings:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise Unreachable("JupyterHub does not answer.")
        done.set()
        return {}

    sweeps = Sweeps(db, {"activity": fails_twice})
    ask, works = lanes(sweeps, {"activity": 3600.0})
    tasks = [asyncio.create_task(work) for work in works]
    ask("activity")
    await asyncio.wait_for(done.wait(), 120)
    async with asyncio.timeout(120):
        while sweeps.soon("activity"):
            await asyncio.sleep(0.01)
    await end(*tasks)
    (row,) = await db.rows(sa.text("SELECT runs, error FROM sweep"))
    assert (runs, row.runs, row.error) == (3, 1, "")
    await db.aclose()


async def test_a_sweep_that_finds_no_room_looks_again_long_before_its_next_turn(settings: Settings) -> None:
    db = Database(settings.database)
    left = [1, 1, 0]

    async def looks() -> Findings:
        return {"full": left.pop(0)}

    sweeps = Sweeps(db, {"images": looks})
    asked = []
    while left:
        assert await sweeps.run("images", 0) is not None
        asked.append(sweeps.soon("images") > 0)
    assert asked == [True, True, False]
    await db.aclose()


async def test_a_sweep_holds_no_transaction_counts_what_it_finds_and_is_taken_over(settings: Settings) -> None:
    db = Database(settings.database)
    begun, goes = asyncio.Event(), asyncio.Event()

    async def works() -> Findings:
        begun.set()
        await goes.wait()
        return {"mended": 2}

    first, second = (Sweeps(db, {"one": works}) for _ in range(2))
    running = asyncio.create_task(first.run("one", 0))
    await begun.wait()
    open_transactions = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    assert (await db.rows(sa.text(open_transactions)))[0].n == 0
    assert await second.run("one", 0) is None  # somebody has it
    await db.rows(sa.text("UPDATE sweep SET lease_until = now() - interval '1 second'"))  # and has died
    taking_over = asyncio.create_task(second.run("one", 0))
    while not await db.rows(sa.text("SELECT 1 FROM sweep WHERE lease_until > now()")):
        await asyncio.sleep(0.01)
    goes.set()
    assert await taking_over == {"mended": 2}
    await running
    assert await first.run("one", 0) == {"mended": 2}
    assert await first.run("one", 3600) is None
    (row,) = await db.rows(sa.text("SELECT runs, totals, lease_owner, error FROM sweep"))
    assert (row.runs, row.totals, row.lease_owner, row.error) == (2, {"mended": 4}, None, "")
    # What took long rests for nine times as long.
    await db.rows(sa.text("UPDATE sweep SET seconds = 100, last_at = now() - interval '10 minutes'"))
    assert await first.run("one", 1) is None
    await db.aclose()


async def test_a_sweep_that_fails_or_is_interrupted_gives_its_place_back_and_says_why(settings: Settings) -> None:
    db = Database(settings.database)

    async def fails() -> Findings:
        raise Unreachable("JupyterHub does not answer.")

    sweeps = Sweeps(db, {"fails": fails, "hangs": asyncio.Event().wait})
    assert await sweeps.run("fails", 10) is None
    hanging = asyncio.create_task(sweeps.run("hangs", 10))
    while not await db.rows(sa.text("SELECT 1 FROM sweep WHERE name = 'hangs' AND lease_owner IS NOT NULL")):
        await asyncio.sleep(0.01)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    rows = {row.name: (row.lease_owner, row.error) for row in await db.rows(sa.text("SELECT * FROM sweep"))}
    assert rows == {"fails": (None, "JupyterHub does not answer."), "hangs": (None, "It was interrupted.")}
    await db.aclose()
