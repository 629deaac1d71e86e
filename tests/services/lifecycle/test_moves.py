"""The one function that writes states: guards, epochs, numbers of events, batches."""

import asyncio

import pytest
import sqlalchemy as sa

from services.db import Database
from services.events import Kind, NewEvent
from services.lifecycle.moves import Move, move_launches
from services.states import LAUNCH_ENDED, LAUNCH_FROM, LaunchState


async def insert(db: Database, launch: str, state: LaunchState = LaunchState.WAITING, epoch: int = 0) -> None:
    await db.rows(sa.text("""
        INSERT INTO launch (id, state, caller, client, provider, spec, repo, ref, epoch, lease_owner)
        VALUES (:id, :state, 'c', 'a', 'git', 's', 'r', 'HEAD', :epoch, 'me')
    """), {"id": launch, "state": state, "epoch": epoch})


async def move(db: Database, *moves: Move) -> dict[str, list[int]]:
    moved = await db.run(lambda conn: move_launches(conn, moves))
    return {launch: [event.seq for event in events] for launch, events in moved.items()}


async def state(db: Database, launch: str) -> sa.Row:
    return (await db.rows(sa.text("SELECT * FROM launch WHERE id = :id"), {"id": launch}))[0]


@pytest.mark.parametrize("to", list(LaunchState))
async def test_a_state_is_reached_only_from_the_states_before_it(db: Database, to: LaunchState) -> None:
    for before in LaunchState:
        await insert(db, f"{to}-{before}", before)
    allowed = {before for before in LaunchState if await move(db, Move(f"{to}-{before}", to, (NewEvent(Kind.NOTICE),)))}
    assert allowed == LAUNCH_FROM[to]


async def test_events_are_numbered_without_gaps_whoever_writes(db: Database) -> None:
    await insert(db, "one", LaunchState.LAUNCHING)
    await asyncio.gather(*[move(db, Move("one", None, (NewEvent(Kind.PROGRESS), NewEvent(Kind.PROGRESS)))) for _ in range(20)])
    seqs = [row.seq for row in await db.rows(sa.text("SELECT seq FROM event WHERE launch = 'one' ORDER BY seq"))]
    assert seqs == list(range(1, 41))


async def test_an_owner_of_an_older_epoch_cannot_write(db: Database) -> None:
    await insert(db, "one", LaunchState.LAUNCHING, epoch=3)
    assert await move(db, Move("one", LaunchState.READY, (NewEvent(Kind.READY),), epoch=2)) == {}
    assert (await state(db, "one")).state == "launching"
    assert await move(db, Move("one", LaunchState.READY, (NewEvent(Kind.READY),), epoch=3)) == {"one": [1]}


async def test_a_batch_moves_what_may_be_moved_and_nothing_else(db: Database) -> None:
    await insert(db, "a", LaunchState.WAITING)
    await insert(db, "b", LaunchState.READY)
    moved = await move(
        db, Move("a", LaunchState.RESOLVING, (NewEvent(Kind.RESOLVING),)), Move("b", LaunchState.RESOLVING, (NewEvent(Kind.RESOLVING),)),
        Move("c", LaunchState.RESOLVING))
    assert moved == {"a": [1]}


async def test_values_are_written_and_others_left_alone(db: Database) -> None:
    await insert(db, "one", LaunchState.RESOLVING)
    await move(db, Move("one", None, values={"image": "i:1", "repo_url": "https://x/y"}))
    await move(db, Move("one", LaunchState.FAILED, values={"reason": {"code": "c", "message": "m", "hint": ""}, "attempt": 4}))
    row = await state(db, "one")
    assert (row.image, row.repo_url, row.attempt, row.reason["message"]) == ("i:1", "https://x/y", 4, "m")


async def test_an_unknown_value_is_a_mistake_of_ours(db: Database) -> None:
    with pytest.raises(ValueError, match="token"):
        await move(db, Move("one", None, values={"token": "x"}))


@pytest.mark.parametrize("to", sorted(LAUNCH_ENDED))
async def test_an_end_gives_the_lease_back_and_has_a_time(db: Database, to: LaunchState) -> None:
    before = sorted(LAUNCH_FROM[to])[0]
    await insert(db, "one", before)
    await move(db, Move("one", to))
    row = await state(db, "one")
    assert row.lease_owner is None
    assert row.ended_at is not None


async def test_concurrent_batches_over_the_same_rows_do_not_wait_for_each_other(db: Database) -> None:
    names = [f"l{n:02}" for n in range(20)]
    for name in names:
        await insert(db, name, LaunchState.LAUNCHING)
    note = (NewEvent(Kind.PROGRESS),)
    batches = [[Move(name, None, note) for name in (names if n % 2 else names[::-1])] for n in range(30)]
    await asyncio.gather(*[move(db, *batch) for batch in batches])
    rows = await db.rows(sa.text("SELECT seq FROM launch"))
    assert {row.seq for row in rows} == {30}


async def test_a_cancel_that_comes_while_the_server_gets_ready_stops_it(db: Database) -> None:
    await insert(db, "one", LaunchState.LAUNCHING)
    await move(db, Move("one", None, values={"target": "cancelled"}))
    await move(db, Move("one", LaunchState.READY, (NewEvent(Kind.READY),), release=True))
    row = await state(db, "one")
    assert (row.state, row.target, row.stop_reason) == ("ready", "stopped", "user")
