"""Sweeps over servers: who is idle, who is too old, who is lost, and who runs though no row knows of it."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog

from reaper.sweeps import Findings
from services.db import Database
from services.errors import DockyardError
from services.hub.client import Hub
from services.hub.models import User
from services.lifecycle import Move, Teller
from services.queue import LAUNCHES
from services.runtimes.base import Spawning
from services.settings import ReaperSettings
from services.states import LaunchState, LaunchTarget, StopReason

log = structlog.get_logger()

_ACTIVITY = sa.text("""
    UPDATE server s SET last_activity = greatest(s.last_activity, to_timestamp(w.at))
    FROM unnest(CAST(:names AS text[]), CAST(:ats AS float8[])) AS w(name, at)
    WHERE s.user_name = w.name AND (s.last_activity IS NULL OR s.last_activity < to_timestamp(w.at))
""")
# The launch is looked up row by row through its key: left to itself, a planner without statistics (a database that grew
# faster than it was analysed) reads an index of all servers for each launch, which takes 15 s at 15,000 servers.
_RUNNING = sa.text("""
    SELECT s.user_name, s.launch, s.started_at, coalesce(s.last_activity, l.ready_at, s.started_at) AS last_activity, l.ready_at,
      now() AS now
    FROM server s CROSS JOIN LATERAL (SELECT state, target, ready_at FROM launch WHERE id = s.launch OFFSET 0) l
    WHERE s.state = 'running' AND l.state = 'ready' AND l.target = 'ready'
""")
# A row is written before its user is made, so whatever is ours has one, unless the row has expired.
_ROWS = sa.text("SELECT user_name, state <> 'stopped' AS live FROM server WHERE user_name = ANY(CAST(:names AS text[]))")


class Servers:
    """The servers, seen from the rows, from the hub and from the runtime."""

    def __init__(self, teller: Teller, hub: Hub, spawning: Spawning, settings: ReaperSettings, *, exclusive: bool) -> None:
        """`exclusive`: all users of this hub are ours."""
        self._teller = teller
        self._db: Database = teller.db
        self._hub = hub
        self._spawning = spawning
        self._settings = settings
        self._exclusive = exclusive
        self._seen: dict[str, datetime] = {}  # things without a row, and since when we know them

    async def cull(self) -> Findings:
        """Stop servers that are idle, too old or lost."""
        users = {user.name: user async for user in self._hub.users()}
        active = [(user.name, user.server.last_activity.timestamp()) for user in users.values()
                  if user.server and user.server.last_activity]
        if active:
            await self._db.rows(_ACTIVITY, {"names": [name for name, _ in active], "ats": [at for _, at in active]})
        found = {"idle": 0, "max_age": 0, "lost": 0}
        for row in await self._db.rows(_RUNNING):
            reason = self._reason(row)
            if reason is None and self._missing(users.get(row.user_name)):
                # A page may have been shifted while it was read, so ask for this one before it has consequences.
                again = await self._hub.user(row.user_name)
                reason = StopReason.LOST if self._missing(again) else None
            if reason is not None and await self._end(row.launch, reason):
                found[reason.replace("-", "_")] += 1
        return found

    @staticmethod
    def _missing(user: User | None) -> bool:
        return user is None or user.server is None

    def _reason(self, row: sa.Row[tuple[object, ...]]) -> StopReason | None:
        settings = self._settings
        if settings.max_age and row.now - row.ready_at > timedelta(seconds=settings.max_age):
            return StopReason.MAX_AGE
        quiet_since = max(row.last_activity, row.ready_at)
        if settings.idle and row.now - quiet_since > timedelta(seconds=settings.idle):
            return StopReason.IDLE
        return None

    async def _end(self, launch: str, reason: StopReason) -> bool:
        moved = await self._teller.move(Move(
            launch, None, allowed=frozenset({LaunchState.READY}),
            values={"target": LaunchTarget.STOPPED, "stop_reason": reason, "due_in": 0}))
        self._teller.bell.ring(LAUNCHES)
        log.info("server_ends", launch=launch[:12], why=reason)
        return moved is not None

    async def orphans(self) -> Findings:
        """Remove hub users and running servers that ought not to be there, once they are older than `reaper.orphan_age`.

        On a hub that serves others too, a user is ours only if a row says so.
        """
        at_hub = [user.name async for user in self._hub.users()]
        running = await self._spawning.running()
        names = sorted({*at_hub, *running})
        live = {row.user_name: row.live for row in await self._db.rows(_ROWS, {"names": names})}
        ours = {name for name in names if name in live or name in running or self._exclusive}
        now = datetime.now(UTC)
        unknown = {name: self._seen.get(name, now) for name in names if name in ours and not live.get(name)}
        self._seen = unknown
        found = {"hub_users": 0, "servers": 0}
        for name, since in unknown.items():
            if now - since < timedelta(seconds=self._settings.orphan_age):
                continue
            try:
                if name in at_hub:
                    await self._hub.remove(name)
                    found["hub_users"] += 1
                if name in running:
                    await self._spawning.remove(name)
                    found["servers"] += 1
            except DockyardError as error:
                log.warning("orphan_not_removed", name=name, reason=error.sentence)
                continue
            log.info("orphan_removed", name=name)
        return found
