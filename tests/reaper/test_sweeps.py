"""How sweeps run, with a database and a hub that do not answer."""

import asyncio

from reaper.main import lanes
from reaper.sweeps import Findings, Sweeps
from services.db import Database
from services.settings import Settings
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
    assert await sweeps.run("nudge", 0) == {}
    assert runs == 1
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

    every = {"cull": 10.0, "servers": 10.0, "nudge": 10.0}
    ask, works = lanes(Sweeps(db, {"cull": hangs, "servers": hangs, "nudge": nudges}), every)
    tasks = [asyncio.create_task(work) for work in works]
    ask("cull", "nonsense")
    await begun.wait()
    ask("servers", "nudge")
    await asyncio.wait_for(nudged.wait(), 30)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await db.aclose()
