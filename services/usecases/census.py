"""How much there is of everything, counted at most once in a moment however many ask.

Anybody may ask for these numbers, and counting reads many rows.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from services.db import Database
from services.usecases import read

_FRESH = 2.0  # seconds


class Census:
    """The numbers of `read.stats`, for one process."""

    def __init__(self) -> None:
        self._found: Mapping[str, Any] = {}
        self._at = -_FRESH
        self._lock = asyncio.Lock()

    async def stats(self, db: Database) -> Mapping[str, Any]:
        """Counts by state of launches, builds and servers, and how long the oldest launch under way has been."""
        async with self._lock:
            if time.monotonic() - self._at >= _FRESH:
                found = await read.stats(db)
                self._found = {
                    **{kind: found[kind] or {} for kind in ("launches", "builds", "servers")}, "oldest_wait": found["oldest_wait"],
                }
                self._at = time.monotonic()
            return self._found
