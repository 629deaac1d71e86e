"""Cancelling and stopping: a request changes the target, the owner of the row moves the state towards it.

Where nobody owns the row the move is made at once. The build of a cancelled launch goes on while somebody else waits
for it; when the last waiter has gone it is given `builds.grace` seconds, in which a new launch of the same image
takes the cancel back. Once its run is being stopped nothing takes the cancel back, or somebody would join a dead run. """

import contextlib

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.errors import NotFound
from services.events import Kind, NewEvent, StoredEvent
from services.lifecycle.moves import Move, move_launches
from services.lifecycle.teller import Teller
from services.queue import BUILDS, LAUNCHES
from services.states import LAUNCH_ENDED, LaunchState, LaunchTarget, StopReason

_LOOK = sa.text("SELECT state, build FROM launch WHERE id = :id")
_LOCK = sa.text("SELECT id FROM build WHERE id = :id FOR UPDATE")
_ABANDON = sa.text("""
    UPDATE build SET target = 'cancelled', cancel_at = now() + :grace * interval '1 second'
    WHERE id = :id AND state IN ('queued', 'fetching', 'building', 'pushing') AND target = 'built'
      AND NOT EXISTS (SELECT FROM launch WHERE build = :id AND state = 'building')
""")
_CANCELLED = Move(
    "", LaunchState.CANCELLED, (NewEvent(Kind.CANCELLED, {"reason": {
        "code": "cancelled", "message": "The launch was cancelled.", "hint": ""}}),),
    values={"target": LaunchTarget.CANCELLED},
)
_UNOWNED = frozenset({LaunchState.WAITING, LaunchState.RESOLVING, LaunchState.BUILDING})


class _Joined(Exception):
    """The launch has joined a build between the look at it and its lock."""


_ABANDONED = NewEvent(Kind.CANCELLED, {"reason": {
    "code": "abandoned", "message": "The launch was cancelled because nobody watched it any more.", "hint": "Start a new one."}})


def _moves(launch: str, reason: StopReason) -> list[Move]:
    """The move for each state that the launch may be in by the time the lock is there."""
    events = (_ABANDONED,) if reason is StopReason.ABANDONED else _CANCELLED.events
    values = {**_CANCELLED.values, "reason": events[0].data["reason"]} if reason is StopReason.ABANDONED else _CANCELLED.values
    return [
        Move(launch, LaunchState.CANCELLED, events, allowed=_UNOWNED, values=values),
        Move(launch, None, allowed=frozenset({LaunchState.LAUNCHING}),
             values={"target": LaunchTarget.CANCELLED, "stop_reason": reason, "due_in": 0}),
        Move(launch, None, allowed=frozenset({LaunchState.READY}),
             values={"target": LaunchTarget.STOPPED, "stop_reason": reason, "due_in": 0}),
    ]


async def end_launch(teller: Teller, launch: str, *, grace: float, reason: StopReason = StopReason.USER) -> LaunchState:
    """Cancel a launch, or stop its server; the state it had. Ending an ended launch changes nothing.

    Raises `NotFound`.
    """
    made: list[Move] = []

    async def work(conn: AsyncConnection) -> tuple[LaunchState, dict[str, list[StoredEvent]]]:
        made.clear()
        row = (await conn.execute(_LOOK, {"id": launch})).one_or_none()
        if row is None:
            raise NotFound("There is no such launch. It may have expired; start a new one.")
        state = LaunchState(row.state)
        if state in LAUNCH_ENDED or state is LaunchState.STOPPING:
            return state, {}
        if row.build is not None:
            await conn.execute(_LOCK, {"id": row.build})
        for move in _moves(launch, reason):
            moved = await move_launches(conn, [move])
            if moved:
                made.append(move)
                if move.to is LaunchState.CANCELLED:
                    if (await conn.execute(_LOOK, {"id": launch})).one().build != row.build:
                        raise _Joined  # builds are locked before launches
                    if row.build is not None:
                        await conn.execute(_ABANDON, {"id": row.build, "grace": grace})
                return state, moved
        return state, {}

    while True:
        with contextlib.suppress(_Joined):
            state, moved = await teller.db.run(work)
            break
    teller.told(made, moved)
    teller.bell.ring(LAUNCHES if state in (LaunchState.LAUNCHING, LaunchState.READY) else BUILDS)
    return state


async def end_build(teller: Teller, build: str) -> None:
    """Cancel a build for everybody who waits for it. Raises `NotFound`."""
    rows = await teller.db.rows(sa.text("""
        UPDATE build SET target = CASE WHEN ended_at IS NULL AND target <> 'ending' THEN 'cancelled' ELSE target END,
          cancel_at = CASE WHEN ended_at IS NULL AND target <> 'ending' THEN now() ELSE cancel_at END, due = now()
        WHERE id = :id RETURNING id
    """), {"id": build})
    if not rows:
        raise NotFound("There is no such build. It may have expired.")
    teller.bell.ring(BUILDS)
