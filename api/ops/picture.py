"""One picture of the installation, gathered once for everybody who looks, and what is wrong in it.

The page has to tell of a dead database too: then the last picture stays, marked with its time, and the checks say what is dead.
Every part is read anew after a time of its own, however many look. """

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from api.watch import Watch
from services.db import Database
from services.errors import DockyardError
from services.lifecycle import dependencies
from services.lifecycle.dependencies import Dependency
from services.lifecycle.room import DISK
from services.policy import Rule, RuleKind, rules
from services.usecases import numbers, trouble

T = TypeVar("T")
_PATIENCE = 3.0  # seconds for the database
HOUR, DAY = (3600.0, 120), (86400.0, 144)  # seconds and points of the curves


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything but the jobs. `stale`: the database does not answer, and this is from `at`."""

    at: datetime
    now: numbers.Numbers
    hour: Mapping[str, list[float | None]]
    day: Mapping[str, list[float | None]]
    failed: trouble.Failures  # of the last hour
    failed_day: trouble.Failures
    processes: list[Mapping[str, Any]]
    leases: list[sa.Row[Any]]
    outlets: list[sa.Row[Any]]
    dependencies: list[Dependency]
    rules: list[Rule]
    stale: bool = False


    @property
    def paused(self) -> Rule | None:
        """The pause that holds."""
        return next((rule for rule in self.rules if rule.kind is RuleKind.PAUSE), None)


@dataclass(slots=True)
class _Kept:
    value: Any = None
    at: float = -1e9


@dataclass(slots=True)
class Pictures:
    """The pictures of one api process. `health` asks the database, the hub and Valkey."""

    db: Database
    watch: Watch
    health: Callable[[], Awaitable[dict[str, Any]]]
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _since: dict[str, tuple[bool, datetime]] = field(default_factory=dict)
    _last: Picture | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def take(self) -> tuple[Picture | None, list[Dependency]]:
        """The picture (None before there has ever been one), and what we stand on, as it was found just now."""
        async with self._lock:
            checks = await self._checks()
            try:
                async with asyncio.timeout(_PATIENCE):
                    if any(not check.ok and check.name == "Postgres" for check in checks):
                        raise TimeoutError
                    self._last = await self._look()
            except (DockyardError, TimeoutError):
                if self._last is not None:
                    self._last = replace(self._last, stale=True)
            return self._last, self._stands(checks)

    async def _look(self) -> Picture:
        db = self.db
        return Picture(
            at=datetime.now(UTC), now=await self.watch.now(),
            hour=await self._fresh("hour", 15, lambda: numbers.curves(db, *HOUR)),
            day=await self._fresh("day", 120, lambda: numbers.curves(db, *DAY)),
            failed=await self._fresh("failed", 5, lambda: trouble.failures(db, 1)),
            failed_day=await self._fresh("failed_day", 20, lambda: trouble.failures(db, 24)),
            processes=await self._fresh("processes", 2, lambda: numbers.processes(db)),
            leases=await self._fresh("leases", 2, lambda: numbers.leases(db)),
            outlets=await self._fresh("outlets", 5, lambda: numbers.outlets(db)),
            dependencies=await self._fresh("dependencies", 2, lambda: dependencies.known(db)),
            rules=await rules(db),
        )

    async def _fresh(self, name: str, seconds: float, read: Callable[[], Awaitable[T]]) -> T:
        kept = self._kept.setdefault(name, _Kept())
        if time.monotonic() - kept.at >= seconds:
            kept.value, kept.at = await read(), time.monotonic()
        found: T = kept.value
        return found

    async def _checks(self) -> list[Dependency]:
        """What this process has found itself, with the moment since when it is so as far as this process knows."""
        found = []
        for check in (await self.health())["checks"]:
            name, ok, now = _NAMES.get(check["service"], check["service"]), bool(check["ok"]), datetime.now(UTC)
            before = self._since.get(name)
            if before is None or before[0] != ok:
                self._since[name] = (ok, now)
            found.append(Dependency(name, ok, self._since[name][1], now, "" if ok else "It does not answer."))
        return found

    def _stands(self, checks: list[Dependency]) -> list[Dependency]:
        """Our own checks and those of other processes, what is missing first. Where both looked, ours is newer and theirs may know
        for how long it has been so.
        """
        noted = {one.name: one for one in self._last.dependencies} if self._last else {}
        found = []
        for check in checks:
            other = noted.pop(check.name, None)
            agree = other is not None and other.ok == check.ok
            found.append(replace(check, since=min(check.since, other.since), detail=other.detail) if other and agree else check)
        if (room := noted.get(DISK)) is not None and room.ok:
            del noted[DISK]  # how much is free is told by the reaper's own numbers
        return sorted([*found, *noted.values()], key=lambda one: (one.ok, one.name not in _ORDER, one.name))


_NAMES = {"JupyterHub API": "JupyterHub", "Database": "Postgres", "Redis": "Valkey"}
_ORDER = ("Postgres", "JupyterHub", "Valkey")
