"""How long things take here lately, and so how long a launch will still take: a guess, and told as one.

Medians of the last builds and starts, looked up now and then by each api process. Where there is too little to go by, or a
launch has taken far longer than usual, nothing is said.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from services.db import Database

_FRESH = 30.0  # seconds that a look is good for
_LEAST = 3  # builds or starts that a median is made of at least
_LOOK = sa.text("""
    SELECT
      (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY took) FROM (
         SELECT extract(epoch FROM ended_at - started_at)::float8 AS took FROM build
         WHERE state = 'built' AND started_at IS NOT NULL ORDER BY created_at DESC LIMIT 40) b HAVING count(*) >= :least) AS build,
      (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY took) FROM (
         SELECT extract(epoch FROM l.ready_at - max(e.at))::float8 AS took
         FROM (SELECT id, ready_at FROM launch WHERE ready_at IS NOT NULL ORDER BY created_at DESC LIMIT 40) l
         JOIN event e ON e.launch = l.id AND e.kind = 'launching' GROUP BY l.id, l.ready_at) s HAVING count(*) >= :least) AS start
""")


@dataclass(frozen=True, slots=True)
class Usual:
    """Median seconds; None where nothing is known."""

    build: float | None = None
    start: float | None = None

    def left(self, state: str, timings: Mapping[str, float], ahead: int | None) -> float | None:
        """Seconds until a launch in `state` is ready; `ahead` is how many builds are before its own."""
        if self.start is None or state not in ("building", "launching"):
            return None
        if state == "launching":
            return _rest(self.start, timings.get(state, 0.0))
        if self.build is None:
            return None
        building = _rest(self.build * (1 + (ahead or 0)), timings.get(state, 0.0))
        return None if building is None else building + self.start


def _rest(usual: float, spent: float) -> float | None:
    if spent > 3 * usual + 5:
        return None
    return max(usual - spent, 0.2 * usual, 0.5)


class Pace:
    """The usual durations, for one process."""

    def __init__(self) -> None:
        self._usual = Usual()
        self._at = -_FRESH

    async def usual(self, db: Database) -> Usual:
        """What is usual now."""
        if time.monotonic() - self._at >= _FRESH:
            self._at = time.monotonic()
            row = (await db.rows(_LOOK, {"least": _LEAST}))[0]
            self._usual = Usual(row.build, row.start)
        return self._usual
