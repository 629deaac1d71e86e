"""Sweeps over what is under way: rows that nobody works on, builds that nobody waits for, launches that nobody watches."""

import time

import sqlalchemy as sa

from reaper.deeds import Deeds
from reaper.sweeps import Findings
from services.errors import NotFound
from services.lifecycle import Teller
from services.queue import BUILDS, LAUNCHES
from services.settings import BuildSettings, ReaperSettings
from services.states import StopReason
from services.usecases.change import end_launch

_UNWANTED = sa.text("""
    SELECT id FROM build b
    WHERE state IN ('queued', 'fetching', 'building', 'pushing') AND target = 'built' AND created_at < now() - interval '1 minute'
      AND NOT EXISTS (SELECT FROM launch l WHERE l.build = b.id AND l.state = 'building')
""")
_CANCEL = sa.text("""
    UPDATE build b SET target = 'cancelled', cancel_at = now() + :grace * interval '1 second'
    WHERE id = :id AND state IN ('queued', 'fetching', 'building', 'pushing') AND target = 'built'
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
_UNWATCHED = sa.text("""
    SELECT id, repo FROM launch
    WHERE state IN ('waiting', 'resolving', 'building', 'launching') AND target = 'ready' AND NOT build_only
      AND greatest(created_at, watched_at) < now() - :seconds * interval '1 second' ORDER BY created_at LIMIT :most
""")
# Who watches is written down by the api, which may have been away, or unable to write, together with everything else.
_CALM, _GAP = 90.0, 60.0  # seconds that all must have been well before absence means anything; without a look at it


class Builds:
    """The builds and the launches under way, seen from their rows."""

    def __init__(self, teller: Teller, settings: ReaperSettings, builds: BuildSettings, deeds: Deeds | None = None) -> None:
        self._teller = teller
        self._settings = settings
        self._builds = builds
        self._deeds = deeds or Deeds()
        self._calm_since = self._looked_at = time.monotonic()

    async def nudge(self) -> Findings:
        """Ring for rows that are due and have no owner: a message was lost, or an owner has died."""
        row = (await self._teller.db.rows(_STUCK))[0]
        if not self._deeds.dry:
            if row.resolving or row.building:
                self._teller.bell.ring(BUILDS)
            if row.launching:
                self._teller.bell.ring(LAUNCHES)
        self._deeds.wants(row.resolving + row.building + row.launching, "ring for rows that are due and have no owner")
        return {"resolving": row.resolving, "building": row.building, "launching": row.launching}

    async def unwanted(self) -> Findings:
        """Cancel open builds that nobody waits for."""
        number = 0
        for row in await self._teller.db.rows(_UNWANTED):
            if self._deeds.may("build_unwanted", f"cancel the build {row.id[:12]}: nobody waits for it", build=row.id[:12]):
                number += len(await self._teller.db.rows(_CANCEL, {"id": row.id, "grace": self._builds.grace}))
            else:
                number += 1
        return {"unwanted": number}

    async def abandoned(self) -> Findings:
        """Cancel launches under way that nobody has watched or asked for in a long time."""
        now = time.monotonic()
        if now - self._looked_at > max(_GAP, 3 * self._settings.every):
            self._calm_since = now
        self._looked_at = now
        calm = now - self._calm_since >= min(_CALM, self._settings.abandoned)
        if not self._settings.abandoned or not (calm or self._deeds.dry):
            return {"abandoned": 0}
        number = 0
        for row in await self._teller.db.rows(_UNWATCHED, {"seconds": self._settings.abandoned, "most": self._settings.batch}):
            if self._deeds.may("launch_abandoned", f"cancel the launch of {row.repo}: nobody watches it", launch=row.id[:12]):
                try:
                    await end_launch(self._teller, row.id, grace=self._builds.grace, reason=StopReason.ABANDONED)
                except NotFound:
                    continue
            number += 1
        return {"abandoned": number}
