"""What an api process does for operators beside serving: it counts outcomes and keeps samples, if no other replica does.

The one that counts also tells the counts to Prometheus, and no other, so that a sum over all replicas is true; what is under way
they all tell. Nothing here may disturb a launch: whatever goes wrong is logged and tried again. """

import asyncio
import time

import structlog

from services.db import Database
from services.errors import DockyardError
from services.lifecycle.tally import MOST, Counting
from services.usecases import numbers

log = structlog.get_logger()
_EVERY = 2.0  # seconds between looks for something to count
_SAMPLE = 30.0  # seconds between samples
_FRESH = 1.5  # seconds that what is under way is told again without being counted anew


class Watch:
    """Counts, samples, and remembers for a moment what is under way, however many ask."""

    def __init__(self, db: Database, owner: str) -> None:
        self._db = db
        self.counting = Counting(db, owner)
        self._sampled = -_SAMPLE
        self._now: numbers.Numbers | None = None
        self._at = 0.0
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Count and sample for ever."""
        while True:
            try:
                await self.turn()
            except DockyardError as error:
                log.warning("counting_interrupted", reason=error.sentence)
            except Exception:  # the edge: no page and no launch depends on it
                log.exception("counting_failed")
            await asyncio.sleep(_EVERY)

    async def turn(self) -> None:
        """Count everything that is new, and take a sample if it is time."""
        while (await self.counting.count() or 0) >= MOST:
            pass
        if self.counting.ours and time.monotonic() - self._sampled >= _SAMPLE:
            self._sampled = time.monotonic()
            await numbers.keep(self._db, await self.now())
            await self.counting.expire()

    async def now(self) -> numbers.Numbers:
        """What is under way."""
        async with self._lock:
            if self._now is None or time.monotonic() - self._at >= _FRESH:
                self._now, self._at = await numbers.now(self._db), time.monotonic()
            return self._now

    async def aclose(self) -> None:
        """Let another replica count at once."""
        try:
            await self.counting.aclose()
        except DockyardError as error:
            log.info("counting_not_handed_over", reason=error.sentence)
