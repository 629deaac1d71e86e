"""Images whose servers do not start: one launch at a time tries such an image, and what comes of it holds for all that wait.

An image is held from the moment it is built until a server of it has run, though not for longer than some seconds, and from a
failed start until one succeeds. The claims of the launcher let one launch of a held image through (`launcher.main`). So a bad
image costs the hub one start at a time, however many people follow its link, and they all are told the reason at once.
"""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database
from services.errors import DockyardError
from services.events import Kind, NewEvent, StoredEvent
from services.lifecycle.moves import Move, move_launches
from services.lifecycle.teller import Teller
from services.queue import LAUNCHES
from services.states import LaunchState

# Long enough that nobody gets around it, short enough that an image which nobody wants for a day begins anew.
_HOLD = sa.text("""
    INSERT INTO image AS i (name, held_until) VALUES (:image, now() + interval '1 day')
    ON CONFLICT (name) DO UPDATE SET held_until = excluded.held_until
    RETURNING (SELECT b.held_until > now() FROM image b WHERE b.name = :image) AS before
""").bindparams(sa.bindparam("image", type_=sa.Text))
_FREE = sa.text("UPDATE image SET held_until = NULL WHERE name = :image AND held_until IS NOT NULL RETURNING name")
# Those that a launcher works on end by themselves.
_WAITERS = sa.text("""
    SELECT id, epoch FROM launch WHERE image = :image AND state = 'launching' AND target = 'ready' AND lease_owner IS NULL
    ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED
""")


async def hold(db: Database, image: str) -> bool:
    """A server of this image has not started. True if the image was held before, and so no other has started in between."""
    return bool((await db.rows(_HOLD, {"image": image}))[0].before)


async def free(teller: Teller, image: str) -> None:
    """A server of this image runs: let everybody in."""
    if await teller.db.rows(_FREE, {"image": image}):
        teller.bell.ring(LAUNCHES)


async def fail_waiters(teller: Teller, image: str, error: DockyardError) -> int:
    """Tell everybody who waits to try a held image what came of the last try; how many they were."""
    reason = {"code": error.code, "message": error.sentence, "hint": "Another launch of the same image has just failed with this."}
    moves: list[Move] = []

    async def work(conn: AsyncConnection) -> dict[str, list[StoredEvent]]:
        rows = (await conn.execute(_WAITERS, {"image": image})).all()
        moves[:] = [
            Move(row.id, LaunchState.FAILED, (NewEvent(Kind.FAILED, {"reason": reason}),), epoch=row.epoch, values={"reason": reason},
                 allowed=frozenset({LaunchState.LAUNCHING})) for row in rows
        ]
        return await move_launches(conn, moves)

    number = 0
    while True:
        moved = await teller.db.run(work)
        teller.told(moves, moved)
        number += len(moved)
        if len(moved) < 500:
            return number
