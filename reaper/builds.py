"""Sweeps over builds: runs that no row knows, open builds that nobody waits for, rows that nobody works on."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog

from reaper.sweeps import Findings
from services.lifecycle import Teller
from services.queue import BUILDS, LAUNCHES
from services.runtimes.base import Builder
from services.settings import BuildSettings, ReaperSettings

log = structlog.get_logger()

_OPEN = sa.text("""
    SELECT 'build-' || id || '-' || attempt AS handle FROM build WHERE state IN ('queued', 'fetching', 'building', 'pushing')
""")
_UNWANTED = sa.text("""
    UPDATE build b SET target = 'cancelled', cancel_at = now() + :grace * interval '1 second'
    WHERE state IN ('queued', 'fetching', 'building', 'pushing') AND target = 'built' AND created_at < now() - interval '1 minute'
      AND NOT EXISTS (SELECT FROM launch l WHERE l.build = b.id AND l.state = 'building') RETURNING id
""")
_STUCK = sa.text("""
    SELECT
      (SELECT count(*) FROM launch WHERE state IN ('waiting', 'resolving') AND due < now() - interval '3 seconds'
         AND (lease_until IS NULL OR lease_until < now())) AS resolving,
      (SELECT count(*) FROM launch WHERE (state IN ('launching', 'stopping') OR (state = 'ready' AND target = 'stopped'))
         AND due < now() - interval '3 seconds' AND (lease_until IS NULL OR lease_until < now())) AS launching,
      (SELECT count(*) FROM build WHERE state IN ('queued', 'fetching', 'building', 'pushing')
         AND due < now() - interval '3 seconds' AND (lease_until IS NULL OR lease_until < now())) AS building
""")


class Builds:
    """The builds, seen from the rows and from the runtime."""

    def __init__(self, teller: Teller, builder: Builder, settings: ReaperSettings, builds: BuildSettings) -> None:
        self._teller = teller
        self._builder = builder
        self._settings = settings
        self._builds = builds
        self._seen: dict[str, datetime] = {}

    async def nudge(self) -> Findings:
        """Ring for rows that are due and have no owner: a message was lost, or an owner has died."""
        row = (await self._teller.db.rows(_STUCK))[0]
        if row.resolving or row.building:
            self._teller.bell.ring(BUILDS)
        if row.launching:
            self._teller.bell.ring(LAUNCHES)
        return {"resolving": row.resolving, "building": row.building, "launching": row.launching}

    async def orphans(self) -> Findings:
        """Cancel open builds that nobody waits for; remove runs that no open row knows."""
        unwanted = await self._teller.db.rows(_UNWANTED, {"grace": self._builds.grace})
        running = await self._builder.running()
        known = {row.handle for row in await self._teller.db.rows(_OPEN)}
        now = datetime.now(UTC)
        unknown = {handle: self._seen.get(handle, now) for handle in running if handle not in known}
        self._seen = unknown
        removed = 0
        for handle, since in unknown.items():
            if now - since >= timedelta(seconds=self._settings.orphan_age):
                await self._builder.remove(handle)
                removed += 1
                log.info("orphan_removed", handle=handle)
        return {"unwanted": len(unwanted), "removed": removed}
