"""How long things take here lately, and so how long a launch will still take: a guess, and told as one.

Quartiles of the last builds (those of the same repository, where there were any) and of the last starts, looked up now and then by
each api process. Where there is too little to go by, or something has taken far longer than usual, nothing is said.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field

import sqlalchemy as sa

from services.db import Database

_FRESH = 30.0  # seconds that a look is good for
_LEAST = 3  # durations of builds or starts, of whichever repository, that quartiles are made of at least
_REPOSITORIES = 2000  # whose pace is remembered
_QUARTILES = "percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY {})"
_BUILDS = """
    SELECT {work} AS work, {push} AS push, count(*) AS number FROM (
      SELECT extract(epoch FROM ended_at)::float8 - coalesce((marks->>'pushing')::float8, extract(epoch FROM ended_at)::float8) AS push,
        coalesce((marks->>'pushing')::float8, extract(epoch FROM ended_at)::float8) - extract(epoch FROM started_at)::float8 AS work
      FROM build WHERE state = 'built' AND started_at IS NOT NULL {where} ORDER BY created_at DESC LIMIT 40) b
"""
_PARTS = {"work": _QUARTILES.format("work"), "push": _QUARTILES.format("push")}
_BUILDS_OF_ALL = sa.text(_BUILDS.format(**_PARTS, where=""))
_BUILDS_OF_ONE = sa.text(_BUILDS.format(**_PARTS, where="AND repo_url = :repo"))
_STARTS = sa.text(f"""
    SELECT {_QUARTILES.format("start")} AS start, {_QUARTILES.format("looked")} AS looked, count(*) AS number,
      (SELECT count(*) FROM build WHERE state IN ('fetching', 'building', 'pushing')) AS running
    FROM (
      SELECT extract(epoch FROM l.ready_at - max(e.at) FILTER (WHERE e.kind = 'launching'))::float8 AS start,
        extract(epoch FROM min(e.at) FILTER (WHERE e.state NOT IN ('waiting', 'resolving')) - l.created_at)::float8 AS looked
      FROM (SELECT id, ready_at, created_at FROM launch WHERE ready_at IS NOT NULL ORDER BY created_at DESC LIMIT 40) l
      JOIN event e ON e.launch = l.id GROUP BY l.id, l.ready_at, l.created_at) s
""")  # noqa: S608 - put together of constants


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds: a quarter took less than `low`, half less than `usual`, a quarter more than `high`."""

    low: float = 0.0
    usual: float = 0.0
    high: float = 0.0

    @classmethod
    def of(cls, quartiles: list[float]) -> "Span":
        """From what the database found; few durations agree by chance, so it is never too narrow."""
        low, usual, high = quartiles
        return cls(min(low, 0.8 * usual), usual, max(high, 1.25 * usual))

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low + other.low, self.usual + other.usual, self.high + other.high)

    def times(self, number: float) -> "Span":
        """So many of them, one after another."""
        return Span(self.low * number, self.usual * number, self.high * number)

    def rest(self, spent: float) -> "Span | None":
        """What is left of it; None where it has taken far longer already."""
        if spent > 3 * self.high + 5:
            return None
        return Span(*(max(value - spent, 0.2 * value, 0.3) for value in (self.low, self.usual, self.high)))


@dataclass(frozen=True, slots=True)
class Usual:
    """What the steps usually take; None where nothing is known."""

    looked: Span | None = None  # from the wish until it is known what has to be done
    work: Span | None = None  # of a build: everything before its image is stored
    push: Span | None = None
    start: Span | None = None
    running: int = 1  # builds at a time

    def left(self, state: str, build: str, spent: float, ahead: int) -> Span | None:
        """Until a launch is ready: its state, its build's, how long that step has taken so far, and how many are before it."""
        if self.start is None:
            return None
        if state == "launching":
            return self.start.rest(spent)
        if state in ("waiting", "resolving"):
            looked = self.looked.rest(spent) if self.looked else None
            if looked is None:
                return None
            longest = Span() if self.work is None or self.push is None else self.work + self.push
            return looked + self.start + Span(0.0, 0.0, longest.high)
        if state != "building" or self.work is None or self.push is None:
            return None
        if build == "pushing":
            rest = self.push.rest(spent)
        elif build == "queued":
            wait = (ahead + 0.5) / self.running if self.running else ahead  # those that run are half done, on the whole
            rest = self.work.times(1 + wait) + self.push
        else:
            rest = self.work.rest(spent)
            rest = rest and rest + self.push
        return rest and rest + self.start


@dataclass(slots=True)
class Pace:
    """The usual durations, for one process."""

    _usual: Usual = field(default_factory=Usual)
    _at: float = -_FRESH
    _of: OrderedDict[str, tuple[float, Usual]] = field(default_factory=OrderedDict)

    async def usual(self, db: Database, repo_url: str | None) -> Usual:
        """What is usual now, for a repository if it is known which."""
        now = time.monotonic()
        if now - self._at >= _FRESH:
            self._at = now
            builds, starts = (await db.rows(_BUILDS_OF_ALL))[0], (await db.rows(_STARTS))[0]
            work, push = (Span.of(builds.work), Span.of(builds.push)) if builds.number >= _LEAST else (None, None)
            looked, start = (Span.of(starts.looked), Span.of(starts.start)) if starts.number >= _LEAST else (None, None)
            self._usual = Usual(looked, work, push, start, starts.running)
        if not repo_url:
            return self._usual
        at, found = self._of.get(repo_url, (-_FRESH, self._usual))
        if now - at >= _FRESH:
            row = (await db.rows(_BUILDS_OF_ONE, {"repo": repo_url}))[0]
            found = self._usual
            if row.number:
                found = Usual(found.looked, Span.of(row.work), Span.of(row.push), found.start, found.running)
            self._of[repo_url] = (now, found)
            if len(self._of) > _REPOSITORIES:
                self._of.popitem(last=False)
        return found
