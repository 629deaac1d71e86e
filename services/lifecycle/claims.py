"""Taking rows, keeping them and giving them back.

A claim takes rows that nobody owns, or whose owner has not been heard of for a lease (by the database's clock), and
raises their epoch; with SKIP LOCKED any number of processes claim side by side. A row that was claimed from an owner
that vanished counts a crash, if others of ours lived on: what takes its worker along is told so from a machine, or a
whole tree of processes, that went down with everything on it. A row that was given back counts none.

Rows are taken in the order of their coming, which costs next to nothing, until some have waited for a second while there
are more of them than room. From then on they are taken by fair shares (see `shares`): a process orders all that waits, and
takes the next rows of that order until it is used up or a second old. """

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database
from services.lifecycle.shares import Served, Share, order

_SCARCE = 1.0  # seconds of waiting from which on shares matter
_FRESH = 1.0  # seconds that an order is good for
_ORDERED = 512  # rows of an order that are kept


# Whether any process of ours lives that lived already when the owner was last heard: its connection to the database is older
# than that. A database that was started anew in between has no such connection, and nobody could keep a lease then.
_OTHERS_LIVED = """
    EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = current_database() AND a.application_name LIKE 'dockyard-%'
      AND a.backend_start < t.lease_until - :lease * interval '1 second')
"""


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of work: which rows of which table, and which of their columns the worker gets."""

    name: str
    table: str  # launch or build
    where: str  # SQL condition that says: there is something to do; must match a partial index
    columns: tuple[str, ...]
    share: Share | None = None  # whose row it is, where fair shares matter
    places: str = ""  # SQL for how many rows may be taken now; such claims are made one after the other
    returns: str = ""  # further columns, computed for `t`


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
        self.table, self._places = work.table, work.places
        self._served = Served() if work.share else None
        self._scarce = False
        self._order: list[str] = []
        self._ordered_at = 0.0
        columns = ", ".join(f"t.{name}" for name in ("id", "epoch", "crashes", *work.columns))
        columns += f", {work.returns}" if work.returns else ""
        if work.share:
            columns += "".join(
                f", {expression.replace('c.', 't.')} AS share_{kind}" for kind, expression in
                (("client", work.share.client), ("repo", work.share.repo), ("provider", work.share.provider)))
            columns += ", extract(epoch FROM now() - t.due)::float8 AS waited"
        free = f"{work.where} AND c.due <= now() AND (c.lease_until IS NULL OR c.lease_until < now())"
        take = f"""
            UPDATE {work.table} t SET lease_owner = :owner, lease_until = now() + :lease * interval '1 second', epoch = t.epoch + 1,
              crashes = t.crashes + CASE WHEN t.lease_owner IS NULL THEN 0 ELSE ({_OTHERS_LIVED})::int END
            WHERE t.id IN (
              SELECT c.id FROM {work.table} c WHERE {free} {{}} FOR UPDATE SKIP LOCKED)
            RETURNING {columns}
        """  # noqa: S608 - only constants of this module go in
        self._first = sa.text(take.format("ORDER BY c.due LIMIT :most"))
        self._these = sa.text(take.format("AND c.id = ANY(CAST(:ids AS text[]))"))
        self._all = sa.text(f"{order(work.table, free, work.share)} LIMIT {_ORDERED}") if work.share else None
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
        rows = await self._db.run(lambda conn: self._take(conn, most))
        if self._served is not None:
            for row in rows:
                self._served.took(row._asdict())
            if not self._scarce:
                self._scarce = len(rows) == most and max(row.waited for row in rows) > _SCARCE
        return [Claimed(row.id, row.epoch, row.crashes, row._asdict()) for row in rows]

    async def _take(self, conn: AsyncConnection, most: int) -> Sequence[sa.Row[Any]]:
        if self._places:
            # Held to the end of the transaction; what is counted next is counted after whoever had it before has committed.
            await conn.execute(_LOCK, {"name": self.table})
            most = min(most, int(await conn.scalar(sa.text(self._places)) or 0))
            if most <= 0:
                return ()
        parameters = {"owner": self._owner, "lease": self._lease}
        if not self._scarce:
            return (await conn.execute(self._first, parameters | {"most": most})).all()
        taken: list[sa.Row[Any]] = []
        while len(taken) < most:
            if (not self._order or time.monotonic() - self._ordered_at > _FRESH) and not await self._sort(conn):
                break
            ids, self._order = self._order[: most - len(taken)], self._order[most - len(taken):]
            taken += (await conn.execute(self._these, parameters | {"ids": ids})).all()
        return taken

    async def _sort(self, conn: AsyncConnection) -> bool:
        """Put what waits into order; False where nothing waits, and then shares do not matter any more."""
        assert self._all is not None
        assert self._served is not None
        rows = (await conn.execute(self._all, {"served": json.dumps(self._served.payload())})).all()
        self._order, self._ordered_at = [row.id for row in rows], time.monotonic()
        self._scarce = any(row.waited > _SCARCE for row in rows)
        return bool(rows)

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


_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('dockyard places ' || :name))").bindparams(sa.bindparam("name", type_=sa.Text))


def _columns(held: Iterable[tuple[str, int]]) -> tuple[Sequence[str], Sequence[int]]:
    pairs = list(held)
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
