"""Reading the events of all launches, each once, in an order that misses none.

A sequence would not do: number 11 may be committed before number 10, and a reader that has gone past 11 never sees it. So an
event carries its transaction, and a reader takes those of transactions that have all ended, by (transaction, launch, number),
and notes in `outlet` how far it has come. A transaction that stays open for long makes readers wait and lose nothing. One
process reads under each name at a time: the row is leased, as all work is.

Steps within a state (`progress`, `notice`) are not news. A database that was restored from a dump counts its transactions
anew; that is noticed, and reading begins at that moment. """

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.db import Database

LEASE = 15.0  # seconds that a silent reader keeps its place
_XMIN = "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"
_XMAX = _XMIN.replace("xmin", "xmax")

# For a CTE; parameters: xact, launch, seq, most.
FRESH = f"""
    SELECT launch, seq, at, kind, state, data, xact FROM event
    WHERE xact IS NOT NULL AND kind NOT IN ('progress', 'notice') AND (xact, launch, seq) > (:xact, :launch, :seq) AND xact < {_XMIN}
    ORDER BY xact, launch, seq LIMIT :most
"""  # noqa: S608 - constants

_MAKE = sa.text(f"""
    INSERT INTO outlet (name, xact) VALUES (:name, CASE WHEN :from_now THEN {_XMIN} - 1 ELSE 0 END) ON CONFLICT DO NOTHING
""")  # noqa: S608
_TAKE = sa.text(f"""
    UPDATE outlet SET lease_owner = :owner, lease_until = now() + :lease * interval '1 second'
    WHERE name = :name AND (lease_owner IS NULL OR lease_owner = :owner OR lease_until < now())
    RETURNING xact, launch, seq, xact > {_XMIN} AS ahead
""")  # noqa: S608
_ANEW = sa.text(f"UPDATE outlet SET xact = {_XMIN} - 1, launch = '', seq = 0 WHERE name = :name AND lease_owner = :owner")  # noqa: S608
_FORGET = sa.text(f"UPDATE event SET xact = NULL WHERE xact >= {_XMAX}")  # noqa: S608
_HOLD = sa.text("SELECT xact, launch, seq FROM outlet WHERE name = :name AND lease_owner = :owner FOR UPDATE")
_GIVE_BACK = sa.text("UPDATE outlet SET lease_owner = NULL, lease_until = NULL WHERE name = :name AND lease_owner = :owner")
_ADVANCE = sa.text("""
    UPDATE outlet SET xact = :xact, launch = :launch, seq = :seq, sent = sent + :sent, dropped = dropped + :dropped,
      failing_since = CASE WHEN :sent > 0 THEN NULL ELSE failing_since END, error = CASE WHEN :sent > 0 THEN '' ELSE error END
    WHERE name = :name AND lease_owner = :owner RETURNING name
""")
_FAILED = sa.text("""
    UPDATE outlet SET failing_since = coalesce(failing_since, now()), error = :error WHERE name = :name AND lease_owner = :owner
""")


@dataclass(frozen=True, slots=True)
class Place:
    """The last event that was read: its transaction, launch and number."""

    xact: int
    launch: str
    seq: int


class Cursor:
    """One process's hand on the reader `name`. A new reader begins now, or (`from_now` false) with the first event."""

    def __init__(self, db: Database, name: str, owner: str, *, from_now: bool, lease: float = LEASE) -> None:
        self.db = db
        self.name = name
        self.owner = owner
        self._from_now = from_now
        self._lease = lease
        self._made = False

    async def take(self) -> Place | None:
        """The place to go on from, and the right to do so for a lease; None while another process has it."""
        if not self._made:
            await self.db.rows(_MAKE, {"name": self.name, "from_now": self._from_now})
            self._made = True
        rows = await self.db.rows(_TAKE, {"name": self.name, "owner": self.owner, "lease": self._lease})
        if rows and rows[0].ahead:  # of a future that this database has not had
            await self.db.run(self._anew)
            return await self.take()
        return Place(rows[0].xact, rows[0].launch, rows[0].seq) if rows else None

    async def _anew(self, conn: AsyncConnection) -> None:
        await conn.execute(_ANEW, {"name": self.name, "owner": self.owner})
        await conn.execute(_FORGET)

    async def hold(self, conn: AsyncConnection) -> Place | None:
        """The place, until the transaction ends, for whoever moves it in the same one; None if another process has it by now."""
        row = (await conn.execute(_HOLD, {"name": self.name, "owner": self.owner})).one_or_none()
        return Place(row.xact, row.launch, row.seq) if row else None

    async def advance(self, place: Place, *, sent: int, dropped: int = 0) -> bool:
        """Note that everything up to `place` has been read; False if another process has the place by now."""
        return bool(await self.db.rows(_ADVANCE, {
            "name": self.name, "owner": self.owner, "xact": place.xact, "launch": place.launch, "seq": place.seq, "sent": sent,
            "dropped": dropped,
        }))

    async def failed(self, error: str) -> None:
        """Note that what comes next could not be handed on, and why."""
        await self.db.rows(_FAILED, {"name": self.name, "owner": self.owner, "error": error[:400]})

    async def give_back(self) -> None:
        """Let another process go on at once."""
        await self.db.rows(_GIVE_BACK, {"name": self.name, "owner": self.owner})
