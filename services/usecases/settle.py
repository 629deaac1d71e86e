"""After a launch has been resolved: its image exists and it goes on to the hub, or it joins the build of its image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Batch
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


# Fresh for: the launches that came to their present state before it was made, and so looked into the store too early.
_IMAGE = sa.text("""
    SELECT i.gone, ARRAY(SELECT l.id FROM launch l WHERE l.id = ANY(CAST(:launches AS text[])) AND l.state_at < i.built_at) AS fresh
    FROM image i WHERE i.name = :name
""")
_SEEN = sa.text("""
    INSERT INTO image (name) VALUES (:name)
    ON CONFLICT (name) DO UPDATE SET used_at = now(), gone = false
""")
_VANISHED = sa.text("UPDATE image SET gone = true WHERE name = :name")


async def known(teller: Teller, image: str) -> bool:
    """Whether a build of ours has made this image and nobody has found it gone."""
    rows = await teller.db.rows(_IMAGE, {"name": image, "launches": []})
    return bool(rows) and not rows[0].gone


class Settling:
    """`settle` for many at once, in one process: three hundred launches of one new link join its build in a few transactions,
    where each by itself would wait for the lock on the build's row.
    """

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._batch: Batch[tuple[Resolution, Presence], Settled] = Batch(self._flush, most=128, key=lambda item: item[0].launch)

    async def settle(self, found: Resolution, presence: Presence) -> Settled:
        """Send one launch on; as the function of this name."""
        return await self._batch.submit((found, presence))

    async def _flush(self, items: Sequence[tuple[Resolution, Presence]]) -> Sequence[Settled]:
        return await _settled(self._teller, items)

    async def aclose(self) -> None:
        """Wait for what was asked."""
        await self._batch.aclose()


async def settle(teller: Teller, found: Resolution, presence: Presence) -> Settled:
    """Send the launch on. Raises `LeaseLost` if it is not ours any more; then no build has been made for it."""
    return (await _settled(teller, [(found, presence)]))[0]


async def _settled(teller: Teller, items: Sequence[tuple[Resolution, Presence]]) -> Sequence[Settled]:
    """All or none; where one of several cannot be settled, an error, upon which a batch tries each by itself."""
    moves: list[Move] = []

    async def work(conn: AsyncConnection) -> dict[str, list[StoredEvent]]:
        moves.clear()
        by_image: dict[str, list[tuple[Resolution, Presence]]] = {}
        for item in items:
            by_image.setdefault(item[0].wanted.image, []).append(item)
        for image in sorted(by_image):  # in one order, so that two batches cannot wait for each other
            moves.extend(await _image(conn, image, by_image[image]))
        moved = await move_launches(conn, moves)
        for found, _ in items:
            if found.launch not in moved:
                raise LeaseLost(f"launch {found.launch[:12]} has another owner or another state")
        return moved

    try:
        moved = await teller.db.run(work)
    except _AskAgain:
        if len(items) > 1:
            raise
        return [Settled.AGAIN]
    teller.told(moves, moved)
    return [Settled.FOUND if _there(*item) else Settled.JOINED for item in items]


def _there(found: Resolution, presence: Presence) -> bool:
    return presence is Presence.YES and not found.wanted.rebuild


async def _image(conn: AsyncConnection, image: str, items: Sequence[tuple[Resolution, Presence]]) -> list[Move]:
    """The moves of all launches of one image. Raises `_AskAgain`."""
    moves = [_found(item[0]) for item in items if _there(*item)]
    if moves:
        await conn.execute(_SEEN, {"name": image})
    missing = [found for found, presence in items if not _there(found, presence)]
    if missing:
        build = await join(conn, missing[0].wanted)
        if build is None:
            raise _AskAgain
        row = (await conn.execute(_IMAGE, {"name": image, "launches": [found.launch for found in missing]})).one_or_none()
        if row is not None and not row.gone and any(found.launch in row.fresh and not found.wanted.rebuild for found in missing):
            # Its build ended between the look into the store and this lock; a fresh look will find it.
            raise _AskAgain
        if row is not None and not all(found.wanted.rebuild for found in missing):
            await conn.execute(_VANISHED, {"name": image})
        moves += [_joined(found, build) for found in missing]
    return moves


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
