"""Taking rows, keeping them and giving them back.

A claim takes rows that nobody owns, or whose owner has not been heard of for a lease (by the database's clock), and
raises their epoch; with SKIP LOCKED any number of processes claim side by side. A row that was claimed from an owner
that vanished counts a crash; one that was given back does not. """

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.db import Database


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of work: which rows of which table, and which of their columns the worker gets."""

    name: str
    table: str  # launch or build
    where: str  # SQL condition that says: there is something to do; must match a partial index
    columns: tuple[str, ...]
    before: str = ""  # columns assigned on the way, such as a state that a claim implies


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row in our hands: its epoch is part of every write."""

    id: str
    epoch: int
    crashes: int
    row: Mapping[str, Any]


class Claims:
    """Claims of one kind of work by one owner."""

    def __init__(self, db: Database, work: Work, owner: str, lease: float) -> None:
        self._db = db
        self._owner = owner
        self._lease = lease
        columns = ", ".join(f"t.{name}" for name in ("id", "epoch", "crashes", *work.columns))
        self._claim = sa.text(f"""
            UPDATE {work.table} t SET lease_owner = :owner, lease_until = now() + :lease * interval '1 second', epoch = t.epoch + 1,
              crashes = t.crashes + (t.lease_owner IS NOT NULL)::int {work.before}
            WHERE t.id IN (
              SELECT c.id FROM {work.table} c
              WHERE {work.where} AND c.due <= now() AND (c.lease_until IS NULL OR c.lease_until < now())
              ORDER BY c.due LIMIT :most FOR UPDATE SKIP LOCKED)
            RETURNING {columns}
        """)  # noqa: S608 - only constants of this module go in
        self._renew = sa.text(f"""
            WITH held AS (SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:epochs AS int[])) AS h(id, epoch)),
            mine AS (SELECT t.id FROM {work.table} t JOIN held h ON h.id = t.id AND h.epoch = t.epoch ORDER BY t.id FOR UPDATE OF t)
            UPDATE {work.table} t SET lease_until = now() + :lease * interval '1 second'
            FROM mine WHERE t.id = mine.id AND t.lease_owner = :owner RETURNING t.id, t.target
        """)  # noqa: S608
        self._release = sa.text(f"""
            UPDATE {work.table} t SET lease_owner = NULL, lease_until = NULL
            FROM unnest(CAST(:ids AS text[]), CAST(:epochs AS int[])) AS h(id, epoch)
            WHERE t.id = h.id AND t.epoch = h.epoch AND t.lease_owner = :owner
        """)  # noqa: S608

    async def claim(self, most: int) -> list[Claimed]:
        """Take up to `most` rows."""
        rows = await self._db.rows(self._claim, {"owner": self._owner, "lease": self._lease, "most": most})
        return [Claimed(row.id, row.epoch, row.crashes, row._asdict()) for row in rows]

    async def renew(self, held: Iterable[tuple[str, int]]) -> dict[str, str]:
        """Keep rows for another lease; the answer has those that are still ours, with their targets."""
        ids, epochs = _columns(held)
        rows = await self._db.rows(self._renew, {"ids": ids, "epochs": epochs, "lease": self._lease, "owner": self._owner})
        return {row.id: row.target for row in rows}

    async def release(self, held: Iterable[tuple[str, int]]) -> None:
        """Give rows back at once; not a crash."""
        ids, epochs = _columns(held)
        if ids:
            await self._db.rows(self._release, {"ids": ids, "epochs": epochs, "owner": self._owner})


def _columns(held: Iterable[tuple[str, int]]) -> tuple[Sequence[str], Sequence[int]]:
    pairs = list(held)
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
