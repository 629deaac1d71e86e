"""After a launch has been resolved: its image exists and it goes on to the hub, or it joins the build of its image."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.errors import LeaseLost
from services.events import Kind, NewEvent, StoredEvent
from services.lifecycle.builds import Wanted, join
from services.lifecycle.moves import Move, move_launches
from services.lifecycle.teller import Teller
from services.runtimes.base import Presence
from services.states import LaunchState


class _AskAgain(Exception):
    """The image has just been made, or its cancelled build is just being stopped."""


class Settled(StrEnum):
    """What became of the launch."""

    FOUND = "found"
    JOINED = "joined"
    AGAIN = "again"  # the image has just been made: ask the store once more


@dataclass(frozen=True, slots=True)
class Resolution:
    """A resolved launch in its owner's hands."""

    launch: str
    epoch: int
    build_only: bool
    wanted: Wanted
    values: dict[str, Any]  # columns of the launch that resolving has found


# Fresh: made after the launch came to its present state, and so after anybody looked into the store for it.
_IMAGE = sa.text("""
    SELECT gone, built_at > (SELECT state_at FROM launch WHERE id = :launch) AS fresh FROM image WHERE name = :name
""")
_SEEN = sa.text("""
    INSERT INTO image (name) VALUES (:name)
    ON CONFLICT (name) DO UPDATE SET used_at = now(), gone = false
""")
_VANISHED = sa.text("UPDATE image SET gone = true WHERE name = :name")


async def known(teller: Teller, image: str) -> bool:
    """Whether a build of ours has made this image and nobody has found it gone."""
    rows = await teller.db.rows(_IMAGE, {"name": image, "launch": ""})
    return bool(rows) and not rows[0].gone


async def settle(teller: Teller, found: Resolution, presence: Presence) -> Settled:
    """Send the launch on. Raises `LeaseLost` if it is not ours any more; then no build has been made for it."""
    there = presence is Presence.YES and not found.wanted.rebuild
    moves = [_found(found) if there else _joined(found, "")]

    async def work(conn: AsyncConnection) -> dict[str, list[StoredEvent]]:
        if there:
            await conn.execute(_SEEN, {"name": found.wanted.image})
        else:
            build = await join(conn, found.wanted)
            if build is None:
                raise _AskAgain
            row = (await conn.execute(_IMAGE, {"name": found.wanted.image, "launch": found.launch})).one_or_none()
            if row is not None and row.fresh and not row.gone and not found.wanted.rebuild:
                # Its build ended between the look into the store and this lock; a fresh look will find it.
                raise _AskAgain
            if row is not None and not found.wanted.rebuild:
                await conn.execute(_VANISHED, {"name": found.wanted.image})
            moves[0] = _joined(found, build)
        moved = await move_launches(conn, moves)
        if not moved:
            raise LeaseLost(f"launch {found.launch[:12]} has another owner or another state")
        return moved

    try:
        moved = await teller.db.run(work)
    except _AskAgain:
        return Settled.AGAIN
    teller.told(moves, moved)
    return Settled.FOUND if there else Settled.JOINED


def _found(found: Resolution) -> Move:
    data = {"image": found.wanted.image, "found": True}
    move = Move(found.launch, LaunchState.LAUNCHING, epoch=found.epoch, values={**found.values, "due_in": 0}, release=True)
    if found.build_only:
        return replace(move, to=LaunchState.DONE, events=(NewEvent(Kind.DONE, data),))
    return replace(move, events=(NewEvent(Kind.FOUND, data), NewEvent(Kind.LAUNCHING)))


def _joined(found: Resolution, build: str) -> Move:
    return Move(
        found.launch, LaunchState.BUILDING, (NewEvent(Kind.BUILDING, {"build": build}),), epoch=found.epoch,
        values={**found.values, "build": build}, release=True,
    )
