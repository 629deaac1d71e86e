"""Images go by their last use, when the disk or the budget is nearly full, or when nobody has used them for days.

Never one that is in use: of an open launch, of a server, of an open build, held, or younger than `reaper.image_hours`. The
row is marked as gone first, and only while that holds, so a launch that comes afterwards builds it anew; one that came just
before finds at the hub that the image has vanished, and does the same. What images share (environments, layers) belongs to the
store, which keeps it for as long as anything needs it.

Where that has not been enough, it is said (see `services.lifecycle.room`) and no build begins until it is.
"""

import asyncio
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
import structlog

from reaper.deeds import Deeds
from reaper.sweeps import Findings
from services.db import Database
from services.errors import DockyardError
from services.lifecycle import room
from services.runtimes.base import ImageStore
from services.settings import Settings

log = structlog.get_logger()
_BATCH = 20  # images between two looks at the room

# All at once and in one pass over each table: launches and servers have no index by image.
_IDLE = sa.text("""
    WITH used AS MATERIALIZED (
      SELECT image FROM launch WHERE state IN ('waiting', 'resolving', 'building', 'launching') AND image IS NOT NULL
      UNION SELECT image FROM launch WHERE state = 'ready'
      UNION SELECT image FROM server WHERE state <> 'stopped'
      UNION SELECT image FROM build WHERE state IN ('queued', 'fetching', 'building', 'pushing')
    ), served AS MATERIALIZED (SELECT image, max(coalesce(stopped_at, now())) AS at FROM server GROUP BY image)
    SELECT i.name, i.gone, extract(epoch FROM greatest(i.used_at, i.built_at, s.at))::float8 AS used_at
    FROM image i LEFT JOIN served s ON s.image = i.name
    WHERE i.name NOT IN (SELECT image FROM used) AND (i.held_until IS NULL OR i.held_until < now())
      AND greatest(i.used_at, i.built_at, s.at) < now() - :hours * interval '1 hour'
""")
_GONE = sa.text("""
    UPDATE image i SET gone = true WHERE name = :name
      AND NOT EXISTS (SELECT FROM build WHERE build.image = i.name AND state IN ('queued', 'fetching', 'building', 'pushing'))
      AND NOT EXISTS (SELECT FROM server WHERE server.image = i.name AND state <> 'stopped')
      AND greatest(used_at, built_at) < now() - :hours * interval '1 hour'
    RETURNING name
""")
# An environment in a registry goes with the last image that was made from it.
_LEFT = """
    SELECT environment FROM image i WHERE gone AND environment IS NOT NULL
      AND NOT EXISTS (SELECT FROM image j WHERE j.environment = i.environment AND NOT j.gone)
      AND NOT EXISTS (SELECT FROM build b WHERE b.environment = i.environment AND b.state IN ('queued', 'fetching', 'building', 'pushing'))
"""
_LEFT_KEYS = sa.text(f"SELECT DISTINCT environment FROM ({_LEFT}) e LIMIT :most")  # noqa: S608 - constants
_FORGET = sa.text("UPDATE image SET environment = NULL WHERE gone AND environment = :key")


@dataclass(frozen=True, slots=True)
class Level:
    """How full something is: bytes in use, of how many, and in whose words."""

    used: int
    whole: int
    what: str

    @property
    def share(self) -> float:
        """Between 0 and 1, or more where a budget is overdrawn."""
        return self.used / self.whole if self.whole else 0.0


class Images:
    """The image store, the disk that it is on, and the rows."""

    def __init__(self, db: Database, store: ImageStore, settings: Settings, deeds: Deeds | None = None) -> None:
        self._db = db
        self._store = store
        self._reaper = settings.reaper
        self._budget = settings.home.disk_budget
        self._keep_free = settings.local.free_bytes
        self._local = settings.runtime.name == "local" and bool(settings.home.path)
        self._home = Path(settings.home.path or "/")
        self._registry = bool(settings.registry.url)
        self._deeds = deeds or Deeds()

    async def collect(self) -> Findings:
        """Free what nobody uses where there is need, and note whether there is room."""
        found = {"freed": 0, "deleted": 0, "full": 0}
        kept = await self._store.kept()
        idle = await self._idle(kept or {})
        if self._reaper.image_days:
            found["deleted"] = await self._old(idle, kept)
            if self._registry and self._reaper.registry:
                found["environments"] = await self._left_over()
        high, low = self._reaper.disk_high, self._reaper.disk_low
        level = await self._level()
        if kept is not None and level.share >= high:
            found["freed"] = await self._free([name for name, _ in sorted(idle.items(), key=lambda one: one[1]) if name in kept], low)
            level = await self._level()
        full = level.share >= high if self._budget else self._local and level.whole - level.used < self._keep_free
        found["full"] = int(full)
        if not self._deeds.dry:
            await room.note(self._db, _refusal(level, bool(self._budget)) if full else "")
        return found

    async def _idle(self, kept: Mapping[str, float]) -> dict[str, float]:
        """Images that may go, with their last use (seconds since 1970), and which of them are gone already."""
        rows = await self._db.rows(_IDLE, {"hours": self._reaper.image_hours})
        newest = time.time() - self._reaper.image_hours * 3600
        found = {row.name: max(row.used_at, kept.get(row.name, 0.0)) for row in rows if not row.gone or row.name in kept}
        return {name: at for name, at in found.items() if at <= newest}

    async def _old(self, idle: Mapping[str, float], kept: Mapping[str, float] | None) -> int:
        """Remove images that nobody has used for days, from the registry only where a setting says so."""
        number, oldest = 0, time.time() - self._reaper.image_days * 86400
        for name, at in sorted(idle.items(), key=lambda one: one[1])[: 10 * self._reaper.batch]:
            if at < oldest and (self._reaper.registry if self._registry else name in (kept or {})):
                number += await self._remove(name, everywhere=True)
        return number

    async def _left_over(self) -> int:
        """Delete environments of which no image is left from the registry."""
        number = 0
        for row in await self._db.rows(_LEFT_KEYS, {"most": 10 * self._reaper.batch}):
            key = row.environment
            if self._deeds.may("environment_removed", f"remove the environment {key[:12]} from the registry", environment=key[:12]):
                try:
                    await self._store.remove_environment(key)
                except (DockyardError, OSError) as error:
                    log.warning("environment_not_removed", environment=key[:12], reason=str(error))
                    continue
                await self._db.rows(_FORGET, {"key": key})
            number += 1
        return number

    async def _free(self, names: list[str], low: float) -> int:
        number = 0
        for start in range(0, len(names), _BATCH):
            for name in names[start:start + _BATCH]:
                number += await self._remove(name, everywhere=False)
            if self._deeds.dry:
                continue
            await self._store.collect(caches=False)
            if (await self._level()).share < low:
                return number
        if not self._deeds.dry:
            await self._store.collect(caches=True)
        return number

    async def _remove(self, name: str, *, everywhere: bool) -> int:
        """Take an image from the machine, or from everywhere; a copy in a registry lets its row stay as it is."""
        if not self._deeds.may("image_removed", f"remove the image {name}", image=name):
            return 1
        if (everywhere or not self._registry) and not await self._db.rows(_GONE, {"name": name, "hours": self._reaper.image_hours}):
            return 0
        try:
            await (self._store.remove(name) if everywhere else self._store.free(name))
        except (DockyardError, OSError) as error:
            log.warning("image_not_removed", image=name, reason=str(error))
            return 0
        return 1

    async def _level(self) -> Level:
        if self._budget:
            used = await (asyncio.to_thread(_home_bytes, self._home) if self._local else self._store.usage())
            return Level(used, self._budget, "The budget of the home" if self._local else "The budget for images")
        if not self._local:
            return Level(0, 0, "")
        found = await asyncio.to_thread(shutil.disk_usage, self._home)
        return Level(found.total - found.free, found.total, "The disk of the home")


def _home_bytes(home: Path) -> int:
    from services.runtimes.local.trees import tree_bytes

    return tree_bytes([home])


def _refusal(level: Level, budget: bool) -> str:
    used, whole = (f"{number / (1 << 30):.1f}" for number in (level.used, level.whole))
    setting = " (home.disk_budget)" if budget else ""
    return (f"{level.what} is used up: {used} of {whole} GB, and nothing more can be removed. "
            f"No build begins until servers have ended or an administrator has made room{setting}.")
