"""Who stands where in a queue, in the order in which rows are taken when there is less room than rows (`lifecycle.shares`).

The whole order is looked up at once and kept for a second, since ten thousand readers may ask for ten thousand places. It is
honest, not exact: what each process has taken lately counts there and is not known here, and newcomers with nothing under way
may still come before.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from services.db import Database
from services.lifecycle.shares import BUILD, LAUNCH, order

_FRESH = 1.0  # seconds
_FREE = "(c.lease_owner IS NULL OR c.lease_until < now())"
_ORDERS = {
    "resolve": sa.text(order("launch", f"c.state IN ('waiting', 'resolving') AND {_FREE}", LAUNCH)),
    "launch": sa.text(order("launch", f"c.state = 'launching' AND c.target = 'ready' AND {_FREE}", LAUNCH)),
    "build": sa.text(order("build", f"c.state = 'queued' AND {_FREE}", BUILD)),
}


class Places:
    """The orders as one process has seen them last."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, dict[str, int]]] = {}
        self._lock = asyncio.Lock()

    async def of(self, db: Database, queue: str, row: str) -> int | None:
        """How many rows are before this one; None if it does not wait (any more)."""
        async with self._lock:
            at, places = self._seen.get(queue, (-_FRESH, {}))
            if time.monotonic() - at >= _FRESH:
                places = {found.id: found.place - 1 for found in await db.rows(_ORDERS[queue], {"served": "[]"})}
                self._seen[queue] = (time.monotonic(), places)
            return places.get(row)


_places: WeakKeyDictionary[Database, Places] = WeakKeyDictionary()


async def position(db: Database, row: Mapping[str, Any]) -> int | None:
    """How many launches, or builds where it waits for its build, are before a launch; None where nothing is."""
    found = _places.setdefault(db, Places())
    match row["state"]:
        case "waiting" | "resolving":
            return await found.of(db, "resolve", row["id"])
        case "building" if row["build"]:
            return await found.of(db, "build", row["build"])
        case "launching":
            return await found.of(db, "launch", row["id"])
        case _:
            return None
