"""One build in its owner's hands, on the fake runtime."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.db import Database
from services.events import StoredEvent, Wake, WakeListener
from services.lifecycle import Claims, Lease, Teller, Work, room
from services.queue import Bell, Redis
from services.runtimes import make_runtime
from services.runtimes.base import BuildJob
from services.runtimes.fake import FakeBuilds, FakeRuntime
from services.settings import Settings
from worker.building import Building
from worker.main import BUILD, END


@pytest.fixture
async def building(settings: Settings, db: Database) -> AsyncIterator[Building]:
    redis = Redis(settings.redis)
    teller = Teller(db, Wake(redis), Bell(redis, lambda _: None))
    yield Building(teller, make_runtime(settings), settings.builds, {})
    for part in (teller, teller.wake, teller.bell, redis):
        await part.aclose()


async def insert(db: Database, build: str, script: str, more: str = "") -> None:
    await db.rows(sa.text("""
        INSERT INTO build (id, image, provider, repo_url, commit) VALUES (:id, :id, 'git', 'https://e.org/' || :script, 'c')
    """), {"id": build, "script": script})
    if more:
        await db.rows(sa.text(f"UPDATE build SET {more} WHERE id = :id"), {"id": build})


async def work(building: Building, db: Database, kind: Work = BUILD) -> str:
    """Claim one build and work on it; its id."""
    claimed = (await Claims(db, kind, "me", 60).claim(1))[0]
    lease = Lease(claimed)
    async with asyncio.timeout(60):
        await building.work(lease)
    if not lease.released:
        await Claims(db, BUILD, "me", 60).release([(claimed.id, claimed.epoch)])
    return claimed.id


async def test_a_build_waits_for_room_in_nobodys_place_but_not_for_ever(db: Database, building: Building) -> None:
    await insert(db, "b", "lines-1")
    await room.note(db, "The disk of the home is used up.")
    for _ in range(2):
        assert await work(building, db) == "b"
        row = (await db.rows(sa.text("SELECT *, due > now() AS later FROM build WHERE id = 'b'")))[0]
        assert (row.state, row.attempt, row.lease_owner, row.later, row.crashes, row.lines) == ("queued", 1, None, True, 0, 1)
        await db.rows(sa.text("UPDATE build SET due = now() WHERE id = 'b'"))
    await db.rows(sa.text("UPDATE dependency SET since = now() - interval '2 minutes'"))
    assert await work(building, db) == "b"
    row = (await db.rows(sa.text("SELECT * FROM build WHERE id = 'b'")))[0]
    assert (row.state, row.reason["message"]) == ("failed", "The disk of the home is used up.")


async def test_a_build_that_waits_for_anothers_environment_keeps_no_place(db: Database, building: Building) -> None:
    # Its maker's owner has died. With all places taken by those who wait, nobody could take it over.
    await insert(
        db, "maker", "env-e+slow-0", "state = 'building', makes_environment = true, environment = 'e', lease_owner = 'dead', "
        "lease_until = now() + interval '1 minute'")
    await insert(db, "waits", "env-e+slow-0")
    for _ in range(2):
        assert await work(building, db) == "waits"
        row = (await db.rows(sa.text("SELECT *, due > now() AS later FROM build WHERE id = 'waits'")))[0]
        assert (row.lease_owner, row.later, row.crashes) == (None, True, 0)
        await db.rows(sa.text("UPDATE build SET due = now() WHERE id = 'waits'"))
    said = await db.rows(sa.text("SELECT body FROM log_chunk WHERE build = 'waits'"))
    assert "".join(row.body for row in said).count("Another build makes this environment") == 1
    await db.rows(sa.text("UPDATE build SET lease_until = now() - interval '1 second', due = now() - interval '1 hour' WHERE id = 'maker'"))
    assert await work(building, db) == "maker"
    assert await work(building, db) == "waits"
    states = {row.id: row.state for row in await db.rows(sa.text("SELECT id, state FROM build"))}
    assert states == {"maker": "built", "waits": "built"}


async def test_whoever_follows_a_build_by_itself_is_told_of_its_end(db: Database, building: Building, settings: Settings) -> None:
    await insert(db, "one", "lines-3+slow-0")
    redis, told = Redis(settings.redis), list[StoredEvent]()
    async with asyncio.timeout(60):
        async for news in WakeListener(redis).news():
            if news.lost:  # it listens from here on
                await work(building, db)
            told += news.events
            if told:
                break
    row = (await db.rows(sa.text("SELECT lines FROM build")))[0]
    assert [(event.launch, event.seq, event.kind, event.data) for event in told] == [
        ("one", 1, "built", {"log_end": row.lines, "reason": None})]
    assert row.lines >= 3
    await redis.aclose()


class Told(FakeBuilds):
    """Fake builds that tell where the row stands when a run is removed."""

    def __init__(self, root: Path, db: Database) -> None:
        super().__init__(root)
        self._db = db
        self.removed: list[tuple[str, str, int]] = []

    async def remove(self, handle: str) -> None:
        row = (await self._db.rows(sa.text("SELECT state, attempt FROM build")))[0]
        self.removed.append((handle, row.state, row.attempt))
        await super().remove(handle)


@pytest.mark.parametrize(("script", "more", "removed"), [
    ("crash-1+slow-0", "", ("build-one-1", "queued", 2)),
    ("slow-0", "crashes = 99", ("build-one-1", "failed", 1)),
    ("slow-0", "", ("build-one-1", "built", 1)),
])
async def test_a_run_is_removed_once_the_row_needs_it_no_more(
    db: Database, settings: Settings, tmp_path: Path, script: str, more: str, removed: tuple[str, str, int],
) -> None:
    redis = Redis(settings.redis)
    teller, runtime = Teller(db, Wake(redis), Bell(redis, lambda _: None)), FakeRuntime(tmp_path)
    runtime.builder = told = Told(tmp_path, db)
    await insert(db, "one", script, more)
    await work(Building(teller, runtime, settings.builds, {}), db)
    assert told.removed == [removed]
    for part in (teller, teller.wake, teller.bell, redis):
        await part.aclose()


class Slow(FakeBuilds):
    """Fake builds whose start goes on in a thread, as an engine's does, and which tell what they were asked in which order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []
        self.begun, self.go = asyncio.Event(), threading.Event()

    async def start(self, job: BuildJob) -> None:
        self.begun.set()
        await asyncio.to_thread(self.go.wait)
        await super().start(job)
        self.asked.append("started")

    async def stop(self, job: BuildJob) -> None:
        self.asked.append("stopped")
        await super().stop(job)


async def test_a_start_that_is_cancelled_is_over_before_its_run_is_stopped(db: Database, settings: Settings, tmp_path: Path) -> None:
    redis = Redis(settings.redis)
    teller, runtime = Teller(db, Wake(redis), Bell(redis, lambda _: None)), FakeRuntime(tmp_path)
    runtime.builder = slow = Slow(tmp_path)
    await insert(db, "one", "hang")
    lease = Lease((await Claims(db, BUILD, "me", 60).claim(1))[0])
    working = asyncio.create_task(Building(teller, runtime, settings.builds, {}).work(lease))
    await slow.begun.wait()
    await db.rows(sa.text("UPDATE build SET target = 'cancelled', cancel_at = now()"))
    lease.retarget("cancelled")
    await asyncio.sleep(0.1)  # gives a stop that does not wait the time to be wrong
    slow.go.set()
    await working
    assert slow.asked == ["started", "stopped"]
    assert await slow.running() == []
    assert (await db.rows(sa.text("SELECT state FROM build")))[0].state == "cancelled"
    for part in (teller, teller.wake, teller.bell, redis):
        await part.aclose()


async def test_what_is_cancelled_is_never_begun_and_needs_no_place(db: Database, building: Building) -> None:
    await insert(db, "one", "hang", "target = 'cancelled', cancel_at = now()")
    assert await Claims(db, BUILD, "me", 60).claim(1) == []
    assert await work(building, db, END) == "one"
    row = (await db.rows(sa.text("SELECT state, started_at FROM build")))[0]
    assert (row.state, row.started_at) == ("cancelled", None)


async def test_what_is_wanted_again_within_the_grace_is_built(db: Database, building: Building) -> None:
    await insert(db, "one", "slow-0", "target = 'cancelled', cancel_at = now() + interval '1 hour'")
    lease = Lease((await Claims(db, END, "me", 60).claim(1))[0])
    await db.rows(sa.text("UPDATE build SET target = 'built', cancel_at = NULL"))
    await building.work(lease)
    assert (await db.rows(sa.text("SELECT state FROM build")))[0].state == "built"
