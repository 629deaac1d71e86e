"""Moves in batches: what every owner of launches uses to move them and to tell of it.

Moves that are asked for while a commit is in flight go into the next statement. After the commit the readers are
woken and, where the move hands the launch to another process, that process too. """

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Batch, Database
from services.errors import LeaseLost
from services.events import StoredEvent, Wake
from services.lifecycle.moves import Move, move_launches
from services.queue import BUILDS, LAUNCHES, Bell
from services.states import LaunchState

# Whose turn it is after a move into a state.
NEXT = {LaunchState.WAITING: BUILDS, LaunchState.BUILDING: BUILDS, LaunchState.LAUNCHING: LAUNCHES}


class Teller:
    """Makes moves and tells of them, for one process."""

    def __init__(self, db: Database, wake: Wake, bell: Bell) -> None:
        self.db = db
        self.wake = wake
        self.bell = bell
        self._batch: Batch[Move, list[StoredEvent] | None] = Batch(self._flush, key=lambda move: move.launch)

    async def move(self, move: Move) -> list[StoredEvent] | None:
        """Make one move; None if the launch was not in a state (or epoch) that allows it."""
        return await self._batch.submit(move)

    async def must(self, move: Move) -> list[StoredEvent]:
        """Make one move as its owner; raises `LeaseLost` if the row is not ours any more."""
        events = await self.move(move)
        if events is None:
            raise LeaseLost(f"launch {move.launch[:12]} has another owner or another state")
        return events

    async def _flush(self, moves: Sequence[Move]) -> Sequence[list[StoredEvent] | None]:
        async def work(conn: AsyncConnection) -> dict[str, list[StoredEvent]]:
            return await move_launches(conn, moves)

        moved = await self.db.run(work)
        self.told(moves, moved)
        return [moved.get(move.launch) for move in moves]

    def told(self, moves: Sequence[Move], moved: dict[str, list[StoredEvent]]) -> None:
        """Wake readers and owners after moves that somebody else committed in a transaction of his own."""
        self.wake.publish(event for events in moved.values() for event in events)
        for queue in {NEXT[move.to] for move in moves if move.launch in moved and move.to in NEXT}:
            self.bell.ring(queue)

    async def aclose(self) -> None:
        """Wait for everything that was asked."""
        await self._batch.aclose()
