"""Looks all the time, while things are broken, for what must never be so even for a moment, or not for long.

Two runs of one image at once, seen where they run; two open builds of one image; an orphan older than two minutes; a row in
flight that nobody works on although somebody could. It also takes the time from a kill to the next owner, and how much of it
somebody could have used. Whatever it looks with may be broken at the moment; then it looks again.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError, ProgrammingError

from services.errors import DockyardError
from tests.faults.place import Place
from tests.faults.reality import HANDLE, Known, Thing

OLD = 120.0  # seconds that an orphan may get
ALONE = 15.0  # seconds without a live owner, in a time in which somebody could have taken the row over
WAITING = 90.0  # seconds that a row is due and nobody begins with it; others may have to try its image first
_KNOWN_BUILDS = "SELECT id, image, repo_url FROM build"
_KNOWN_USERS = "SELECT user_name, state FROM server"
_OPEN = "SELECT 'build-' || id || '-' || attempt AS handle FROM build WHERE ended_at IS NULL"
_TWO = "SELECT image FROM build WHERE ended_at IS NULL GROUP BY image HAVING count(*) > 1"
_LATE = """
    SELECT * FROM (
      SELECT 'launch ' || left(id, 12) || ' in ' || state AS what, lease_owner,
        CASE WHEN state IN ('waiting', 'resolving') THEN 'worker' ELSE 'launcher' END AS kind,
        extract(epoch FROM now() - greatest(due, lease_until))::float8 AS late
      FROM launch WHERE state IN ('waiting', 'resolving', 'launching', 'stopping') OR (state = 'ready' AND target <> 'ready')
      UNION ALL
      SELECT 'build ' || left(id, 12) || ' in ' || state, lease_owner, 'worker',
        extract(epoch FROM now() - greatest(due, lease_until))::float8 FROM build WHERE ended_at IS NULL
    ) r WHERE late > CASE WHEN lease_owner IS NULL THEN CAST(:waiting AS float8) ELSE CAST(:alone AS float8) END
"""
_UNWANTED = """
    SELECT 'launch ' || left(l.id, 12) || ' waits for a build that is ' || b.state AS what FROM launch l JOIN build b ON b.id = l.build
    WHERE l.state = 'building' AND b.ended_at IS NOT NULL
"""


@dataclass(frozen=True)
class TakeOver:
    """A row that a killed process had, until somebody else had it. In seconds."""

    what: str
    after: float
    able: float  # of it in which somebody could have taken it: the database and what else that needs was well, and an owner too
    hurt: str  # what was not well meanwhile


@dataclass(frozen=True)
class _Orphan:
    epoch: int
    kind: str  # of the owner
    since: float
    able: float


class Watch:
    """The watch over one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.found: set[str] = set()
        self.takeovers: list[TakeOver] = []
        self.looks = Counter[str]({"at rows and runs": 0, "at what is left over": 0})  # that have come to their end
        self._orphaned: dict[tuple[str, str], _Orphan] = {}
        self._able_for = {"worker": 0.0, "launcher": 0.0}  # seconds of this watch in which somebody could take a row over
        self._over: list[tuple[str, float, float]] = []  # faults that are over: of whom, from when, until when
        self._strange: dict[Thing, float] = {}
        self._images: dict[str, str] = {}
        self._repos: dict[str, str] = {}
        self._hurt: dict[str, int] = {}
        self._well: dict[str, float] = {}

    @contextlib.contextmanager
    def hurting(self, name: str) -> Iterator[None]:
        """A fault is at work on this part meanwhile."""
        self._hurt[name] = self._hurt.get(name, 0) + 1
        since = time.monotonic()
        try:
            yield
        finally:
            self._hurt[name] -= 1
            now = time.monotonic()
            self._well[name] = max(now, self._well.get(name, 0.0))
            self._over.append((name, since, now))

    def unwell(self, name: str, seconds: float) -> None:
        """A fault that is over at once is felt for so long."""
        now = time.monotonic()
        self._well[name] = now + seconds
        self._over.append((name, now, now + seconds))

    async def killed(self, pid: int) -> None:
        """Whatever this process owned waits for its next owner from now on. Call before the kill."""
        for table in ("launch", "build"):
            rows = await self._place.query(
                f"SELECT id, epoch, lease_owner FROM {table} WHERE lease_owner LIKE :owner AND ended_at IS NULL", owner=f"%:{pid}:%")
            for row in rows:
                kind = row.lease_owner.partition("@")[0]
                self._orphaned[table, row.id] = _Orphan(row.epoch, kind, time.monotonic(), self._able_for.get(kind, 0.0))

    async def run(self) -> None:
        """Look until cancelled."""
        feeling = asyncio.create_task(self._feel_on())
        try:
            await self._look_on()
        finally:
            feeling.cancel()
            await asyncio.gather(feeling, return_exceptions=True)

    async def _look_on(self) -> None:
        things = 0.0
        while True:
            # The database and the hub are among what is broken; what we ask them is not.
            with contextlib.suppress(DockyardError, DBAPIError, OSError, TimeoutError, *self._place.troubles):
                try:
                    self._feel()
                    async with asyncio.timeout(20):
                        await self._owners()
                        await self._runs()
                    self.looks["at rows and runs"] += 1
                    if time.monotonic() > things + 3:
                        things = time.monotonic()
                        async with asyncio.timeout(60):
                            self._age(await self.strange())
                        self.looks["at what is left over"] += 1
                except ProgrammingError as error:
                    self.found.add(f"the watch itself is wrong: {error.orig}")
            await asyncio.sleep(0.1)

    async def _feel_on(self) -> None:
        before = time.monotonic()
        while True:
            self._feel()
            now = time.monotonic()
            for kind in self._able_for:
                self._able_for[kind] += max(0.0, min(now - before, self._able(kind)))
            before = now
            await asyncio.sleep(0.1)

    def _feel(self) -> None:
        processes = (*self._place.parts, *self._place.others, *self._place.servers)
        for name in (*processes, "disk"):
            if self._hurt.get(name) or (name in processes and not self._place.alive(name)):
                self._well[name] = max(time.monotonic(), self._well.get(name, 0.0))

    def _able(self, kind: str) -> float:
        """For how many seconds somebody could have taken rows of this kind."""
        needed = max(self._well.get(name, 0.0) for name in ("postgres", "forge", "hub", "disk"))
        owners = min(self._well.get(name, 0.0) for name in self._place.parts if name.startswith(kind))
        return time.monotonic() - max(needed, owners)

    async def _owners(self) -> None:
        for (table, row), orphan in list(self._orphaned.items()):
            rows = await self._place.query(f"SELECT epoch, lease_owner, ended_at FROM {table} WHERE id = :id", id=row)
            if not rows or rows[0].ended_at is not None or rows[0].epoch != orphan.epoch or rows[0].lease_owner is None:
                if rows and rows[0].epoch != orphan.epoch:
                    self.takeovers.append(self._taken(f"{table} {row[:12]} of a {orphan.kind}", orphan))
                del self._orphaned[table, row]
        for row in await self._place.query(_LATE, alone=ALONE, waiting=WAITING):
            if self._able(row.kind) > (WAITING if row.lease_owner is None else ALONE):
                self.found.add(f"nobody works on {row.what}, whose last owner was {row.lease_owner or 'nobody'}")
        self.found |= {row.what for row in await self._place.query(_UNWANTED)}
        self.found |= {f"two open builds of {row.image}" for row in await self._place.query(_TWO)}

    def _taken(self, what: str, orphan: _Orphan) -> TakeOver:
        now, hurt = time.monotonic(), dict[str, float]()
        for name, since, until in self._over:
            if until > orphan.since:
                hurt[name] = hurt.get(name, 0.0) + min(now, until) - max(since, orphan.since)
        words = [f"{name} {seconds:.1f} s" for name, seconds in hurt.items()]
        words += [f"{name} still" for name, number in self._hurt.items() if number]
        return TakeOver(what, now - orphan.since, self._able_for.get(orphan.kind, 0.0) - orphan.able, ", ".join(words))

    async def _known(self) -> tuple[Known, set[str]]:
        """What rows know, and the handles and hub users that they need now."""
        for row in await self._place.query(_KNOWN_BUILDS):
            self._images[row.id], self._repos[row.id] = row.image, row.repo_url
        servers = await self._place.query(_KNOWN_USERS)
        needed = {row.user_name for row in servers if row.state != "stopped"}
        needed |= {row.handle for row in await self._place.query(_OPEN)}
        return Known(self._repos, frozenset(row.user_name for row in servers)), needed

    async def _runs(self) -> None:
        known = Known(self._repos, frozenset())
        twins = self._twins(await asyncio.to_thread(self._place.reality.active, known))
        if not twins:
            return
        known, _ = await self._known()
        # What is seen running in two looks ran in between: one that had ended while the first look went on is not.
        first = self._twins(await asyncio.to_thread(self._place.reality.active, known))
        again = self._twins(await asyncio.to_thread(self._place.reality.active, known))
        for image, handles in first.items():
            if image and len(both := handles & again.get(image, set())) > 1:
                self.found.add(f"two runs of {image} at once: {' '.join(sorted(both))}")

    def _twins(self, handles: set[str]) -> dict[str, set[str]]:
        """Images of which more than one run is there, and under no name those whose image is not known yet."""
        at: dict[str, set[str]] = {}
        for handle in handles:
            match = HANDLE.fullmatch(handle)
            at.setdefault(self._images.get(match[1], "") if match else "", set()).add(handle)
        return {image: found for image, found in at.items() if len(found) > 1 or not image}

    async def strange(self) -> list[Thing]:
        """Things that no row needs now."""
        known, _ = await self._known()
        things = [*await asyncio.to_thread(lambda: list(self._place.reality.things(known))), *await self._at_hub()]
        _, needed = await self._known()  # last, since a row is there before what it is for
        return [thing for thing in things if thing.of not in needed]

    async def _at_hub(self) -> list[Thing]:
        users: dict[str, Any] = await self._place.hub_users()
        return [Thing(f"the hub's user {name}{' with a server' if servers else ''}", name) for name, servers in users.items()] + [
            Thing(f"the route {path}", path.strip("/").split("/")[-1]) for path in await self._place.hub_routes()
            if path.startswith("/user/")]

    def _age(self, strange: list[Thing]) -> None:
        now = time.monotonic()
        self._strange = {thing: self._strange.get(thing, now) for thing in strange}
        old = [thing for thing, since in self._strange.items() if now - since > OLD]
        self.found |= {f"for more than {OLD:.0f} s without a row: {thing.what}" for thing in old}
