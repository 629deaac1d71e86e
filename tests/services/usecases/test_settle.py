"""Joining, making and ending builds against each other, at the level of rows."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from services.db import Database
from services.errors import LeaseLost, NotFound
from services.events import Wake
from services.lifecycle import Teller
from services.lifecycle.builds import Finish, Wanted, finish, give_up, join
from services.lifecycle.moves import Move, move_launches
from services.names import new_id
from services.queue import Bell, Redis
from services.runtimes.base import Presence
from services.settings import Settings
from services.states import BuildState, LaunchState
from services.usecases.change import end_build, end_launch
from services.usecases.settle import Resolution, Settled, Settling, known, settle
from tests.services.lifecycle.test_moves import insert


@pytest.fixture
async def teller(settings: Settings) -> AsyncIterator[Teller]:
    redis, db = Redis(settings.redis), Database(settings.database)
    bell, wake = Bell(redis, lambda queue: None), Wake(redis)
    found = Teller(db, wake, bell)
    yield found
    await found.aclose()
    await wake.aclose()
    await bell.aclose()
    await redis.aclose()
    await db.aclose()


def resolution(launch: str, image: str = "i:1", **more: bool) -> Resolution:
    wanted = Wanted(image=image, provider="git", repo_url="https://x/y", commit="c", rebuild=more.get("rebuild", False))
    return Resolution(launch, 0, more.get("build_only", False), wanted, {"image": image})


async def resolving(teller: Teller, **more: bool) -> Resolution:
    launch = new_id()
    await insert(teller.db, launch, LaunchState.RESOLVING)
    await rows(teller, "UPDATE launch SET build_only = :only WHERE id = :id", only=more.get("build_only", False), id=launch)
    return resolution(launch, **more)


async def rows(teller: Teller, statement: str, **parameters: object) -> list[sa.Row]:
    return await teller.db.rows(sa.text(statement), dict(parameters))


async def end(teller: Teller, build: str, state: BuildState) -> None:
    async def work(conn: sa.ext.asyncio.AsyncConnection) -> None:
        done = await finish(conn, build, 0, Finish(state, {"code": "c", "message": "m", "hint": ""}))
        await move_launches(conn, done.moves)
    await teller.db.run(work)


async def only_build(teller: Teller) -> str:
    found = await rows(teller, "SELECT id FROM build WHERE state NOT IN ('built', 'failed', 'cancelled')")
    assert len(found) == 1
    return str(found[0].id)


async def test_thirty_launches_at_once_make_one_build(teller: Teller) -> None:
    wanted = [await resolving(teller) for _ in range(30)]
    assert set(await asyncio.gather(*[settle(teller, one, Presence.NO) for one in wanted])) == {Settled.JOINED}
    build = await only_build(teller)
    await end(teller, build, BuildState.BUILT)
    assert {row.state for row in await rows(teller, "SELECT state FROM launch")} == {"launching"}
    assert await known(teller, "i:1")


async def test_many_are_settled_together_and_one_that_was_lost_harms_no_other(teller: Teller) -> None:
    settling = Settling(teller)
    wanted = [await resolving(teller) for _ in range(12)]
    other = replace(await resolving(teller), wanted=replace(wanted[0].wanted, image="other:1"))
    await rows(teller, "UPDATE launch SET epoch = 7 WHERE id = ANY(CAST(:ids AS text[]))", ids=[wanted[3].launch, other.launch])
    found = await asyncio.gather(*[settling.settle(one, Presence.NO) for one in [*wanted, other]], return_exceptions=True)
    assert [type(one) for one in found if not isinstance(one, Settled)] == [LeaseLost, LeaseLost]
    assert found.count(Settled.JOINED) == 11
    await only_build(teller)  # none was made for the one that was lost
    await settling.aclose()


async def test_a_launch_that_looked_too_early_looks_again(teller: Teller) -> None:
    first, late = await resolving(teller), await resolving(teller)
    await settle(teller, first, Presence.NO)
    await end(teller, await only_build(teller), BuildState.BUILT)
    assert await settle(teller, late, Presence.NO) is Settled.AGAIN
    assert await settle(teller, late, Presence.YES) is Settled.FOUND


async def test_a_vanished_image_is_built_again(teller: Teller) -> None:
    await settle(teller, await resolving(teller), Presence.NO)
    await end(teller, await only_build(teller), BuildState.BUILT)
    later = await resolving(teller)
    assert await settle(teller, later, Presence.NO) is Settled.JOINED
    assert not await known(teller, "i:1")
    assert [row.generation for row in await rows(teller, "SELECT generation FROM build ORDER BY generation")] == [1, 2]


async def test_a_rebuild_joins_an_open_build_and_otherwise_makes_a_new_one(teller: Teller) -> None:
    await settle(teller, await resolving(teller), Presence.NO)
    assert await settle(teller, await resolving(teller, rebuild=True), Presence.NO) is Settled.JOINED
    await end(teller, await only_build(teller), BuildState.BUILT)
    assert await settle(teller, await resolving(teller, rebuild=True), Presence.YES) is Settled.JOINED
    assert (await rows(teller, "SELECT no_cache FROM build WHERE generation = 2"))[0].no_cache


async def test_build_only_is_done_without_a_server(teller: Teller) -> None:
    first = await resolving(teller, build_only=True)
    await settle(teller, first, Presence.NO)
    await end(teller, await only_build(teller), BuildState.BUILT)
    assert await settle(teller, await resolving(teller, build_only=True), Presence.YES) is Settled.FOUND
    assert {row.state for row in await rows(teller, "SELECT state FROM launch")} == {"done"}


async def test_a_failed_build_fails_all_its_launches_with_its_reason(teller: Teller) -> None:
    for _ in range(3):
        await settle(teller, await resolving(teller), Presence.NO)
    await end(teller, await only_build(teller), BuildState.FAILED)
    assert {(row.state, row.reason["message"]) for row in await rows(teller, "SELECT state, reason FROM launch")} == {("failed", "m")}


async def test_nobody_joins_a_build_whose_run_is_being_stopped(teller: Teller) -> None:
    first, second = await resolving(teller), await resolving(teller)
    await settle(teller, first, Presence.NO)
    build = await only_build(teller)
    await end_launch(teller, first.launch, grace=0)
    assert await give_up(teller.db, build, 0)
    assert await settle(teller, second, Presence.NO) is Settled.AGAIN
    assert len(await rows(teller, "SELECT 1 FROM build")) == 1
    await end(teller, build, BuildState.CANCELLED)
    assert await settle(teller, second, Presence.NO) is Settled.JOINED
    assert len(await rows(teller, "SELECT 1 FROM build")) == 2


async def test_a_launch_inside_the_grace_takes_the_cancel_back(teller: Teller) -> None:
    first, second = await resolving(teller), await resolving(teller)
    await settle(teller, first, Presence.NO)
    build = await only_build(teller)
    await end_launch(teller, first.launch, grace=60)
    assert (await rows(teller, "SELECT target FROM build"))[0].target == "cancelled"
    assert await settle(teller, second, Presence.NO) is Settled.JOINED
    assert (await rows(teller, "SELECT target, cancel_at FROM build"))[0] == ("built", None)
    assert not await give_up(teller.db, build, 0)
    with pytest.raises(LeaseLost):
        await end(teller, build, BuildState.CANCELLED)


async def test_a_build_goes_on_while_somebody_waits(teller: Teller) -> None:
    first, second = await resolving(teller), await resolving(teller)
    for one in (first, second):
        await settle(teller, one, Presence.NO)
    await end_launch(teller, first.launch, grace=0)
    assert (await rows(teller, "SELECT target FROM build"))[0].target == "built"
    await end_launch(teller, second.launch, grace=0)
    assert (await rows(teller, "SELECT target FROM build"))[0].target == "cancelled"


async def test_a_cancelled_launch_makes_no_build(teller: Teller) -> None:
    one = await resolving(teller)
    await end_launch(teller, one.launch, grace=0)
    with pytest.raises(LeaseLost):
        await settle(teller, one, Presence.NO)
    assert await rows(teller, "SELECT 1 FROM build") == []


@pytest.mark.parametrize(("state", "after", "target"), [
    (LaunchState.WAITING, "cancelled", "cancelled"), (LaunchState.LAUNCHING, "launching", "cancelled"),
    (LaunchState.READY, "ready", "stopped"), (LaunchState.STOPPED, "stopped", "ready"), (LaunchState.FAILED, "failed", "ready"),
])
async def test_ending_changes_the_target_where_somebody_owns_the_row(teller: Teller, state: LaunchState, after: str, target: str) -> None:
    await insert(teller.db, "one", state)
    for _ in range(2):
        await end_launch(teller, "one", grace=0)
    assert (await rows(teller, "SELECT state, target FROM launch"))[0] == (after, target)


async def test_what_does_not_exist_cannot_be_ended(teller: Teller) -> None:
    with pytest.raises(NotFound):
        await end_launch(teller, "nobody", grace=0)
    with pytest.raises(NotFound):
        await end_build(teller, "nobody")


async def test_nothing_takes_back_that_a_build_is_being_stopped(teller: Teller) -> None:
    one = await resolving(teller)
    await settle(teller, one, Presence.NO)
    build = await only_build(teller)
    await end_build(teller, build)
    assert await give_up(teller.db, build, 0)
    await end_launch(teller, one.launch, grace=10)  # while its run is being stopped, whoever waited goes too
    await end_build(teller, build)
    assert (await rows(teller, "SELECT target FROM build"))[0].target == "ending"
    assert await settle(teller, await resolving(teller), Presence.NO) is Settled.AGAIN


async def test_a_launch_that_joins_a_build_while_it_is_cancelled_leaves_no_build_behind(teller: Teller) -> None:
    one = await resolving(teller)
    async with teller.db.engine.begin() as conn:
        build = await join(conn, one.wanted)
        await move_launches(conn, [Move(one.launch, LaunchState.BUILDING, epoch=0, values={"build": build})])
        ending = asyncio.create_task(end_launch(teller, one.launch, grace=0))
        locked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not await rows(teller, locked):
            await asyncio.sleep(0.01)
    await ending
    assert (await rows(teller, "SELECT state FROM launch"))[0].state == "cancelled"
    assert (await rows(teller, "SELECT target FROM build"))[0].target == "cancelled"
