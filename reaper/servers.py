"""Sweeps over servers: who is idle, too old, lost or was never opened, and telling them before.

What is known of activity stands in the rows. `activity` reads the hub's active users page by page and writes it down; `cull`
goes by the rows alone to find whose end is near, and asks the hub, and last the server itself, only about those. So most of
the time the hub is asked for nothing, and a hub that is slow or away puts idle servers off: it cannot say that nobody uses
them. What is too old ends all the same.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from reaper.deeds import Deeds
from reaper.sweeps import Findings
from services.errors import DockyardError
from services.events import Kind, NewEvent, StoredEvent
from services.hub.activity import Servers as Asked
from services.hub.client import Hub
from services.hub.models import User
from services.lifecycle import Move, Teller
from services.lifecycle.moves import move_launches
from services.queue import LAUNCHES
from services.secrets import Secret
from services.settings import ReaperSettings
from services.states import LaunchState, LaunchTarget, StopReason

log = structlog.get_logger()
_AT_ONCE = 8  # questions to the hub, and to servers
_LOST = 50  # servers that one sweep asks the hub about one by one
_OPENED = 5.0  # seconds after it was ready from which on activity is somebody's who has opened it

_ACTIVITY = sa.text("""
    UPDATE server s SET last_activity = to_timestamp(w.at)
    FROM unnest(CAST(:names AS text[]), CAST(:ats AS float8[])) AS w(name, at)
    WHERE s.user_name = w.name AND (s.last_activity IS NULL OR s.last_activity < to_timestamp(w.at))
""")
# The launch is looked up row by row through its key: left to itself, a planner without statistics (a database that grew
# faster than it was analysed) reads an index of all servers for each launch, which takes 15 s at 15,000 servers.
_READY = """
    server s CROSS JOIN LATERAL (SELECT state, target, ready_at, watched_at, url FROM launch WHERE id = s.launch OFFSET 0) l
    WHERE s.state = 'running' AND l.state = 'ready' AND l.target = 'ready'
"""
_RUNNING = sa.text(f"SELECT s.user_name, s.launch FROM {_READY} AND l.ready_at < now() - interval '30 seconds' ORDER BY s.user_name")  # noqa: S608
_ENDS = sa.text(f"""
    WITH known AS (
      SELECT s.id, l.ready_at + nullif(:max_age, 0) * interval '1 second' AS old,
        greatest(s.last_activity, l.ready_at) + nullif(:idle, 0) * interval '1 second' AS idle,
        CASE WHEN s.last_activity IS NULL OR s.last_activity <= l.ready_at + :opened * interval '1 second'
          THEN greatest(l.ready_at, l.watched_at) + nullif(:unopened, 0) * interval '1 second' END AS unopened
      FROM {_READY}
    ), ends AS (
      SELECT id, least(old, idle, unopened) AS at, CASE least(old, idle, unopened)
        WHEN old THEN 'max-age' WHEN idle THEN 'idle' WHEN unopened THEN 'unopened' END AS why FROM known
    )
    UPDATE server s SET ends_at = e.at, ends_why = e.why,
      warned_at = CASE WHEN e.at > now() + :warn * interval '1 second' THEN NULL ELSE s.warned_at END
    FROM ends e WHERE s.id = e.id AND (s.ends_at IS DISTINCT FROM e.at OR s.ends_why IS DISTINCT FROM e.why)
""")  # noqa: S608
_NEAR = sa.text(f"""
    SELECT s.id, s.user_name, s.launch, s.last_activity, s.ends_at, s.ends_why, s.warned_at, l.ready_at, l.url, now() AS now
    FROM {_READY} AND s.ends_at <= now() + :warn * interval '1 second' AND (s.ends_at <= now() OR s.warned_at IS NULL)
    ORDER BY s.ends_at LIMIT :most
""")  # noqa: S608
_WARNED = sa.text("UPDATE server SET warned_at = now() WHERE launch = ANY(CAST(:launches AS text[])) AND state = 'running'")
_WORDS = {
    StopReason.IDLE: "The server will be stopped unless somebody uses it.",
    StopReason.UNOPENED: "The server will be stopped unless somebody opens it.",
    StopReason.MAX_AGE: "The server's time will be over.",
}


class Servers:
    """The servers, seen from the rows, from the hub and from themselves."""

    def __init__(
        self, teller: Teller, hub: Hub, asked: Asked, secret: Secret | None, settings: ReaperSettings, deeds: Deeds | None = None,
    ) -> None:
        self._teller = teller
        self._db = teller.db
        self._hub = hub
        self._asked = asked
        self._secret = secret
        self._settings = settings
        self._deeds = deeds or Deeds()

    async def activity(self) -> Findings:
        """Write down what the hub knows of activity, and end servers that it does not know any more."""
        rows = await self._db.rows(_RUNNING)
        seen: set[str] = set()
        async for page in self._hub.pages(active=True):
            await self._note(page)
            seen |= {user.name for user in page if user.server is not None}
        missing = [row for row in rows if row.user_name not in seen]
        lost = 0
        for row in missing[:_LOST]:
            # A page may have been shifted while it was read, so ask for this one before it has consequences.
            user = await self._hub.user(row.user_name)
            if user is None or user.server is None:
                lost += await self._end(row.launch, row.user_name, StopReason.LOST)
        return {"lost": lost}

    async def _note(self, users: Sequence[User]) -> None:
        known = [(user.name, user.server.last_activity.timestamp()) for user in users if user.server and user.server.last_activity]
        if known and not self._deeds.dry:
            await self._db.rows(_ACTIVITY, {"names": [name for name, _ in known], "ats": [at for _, at in known]})

    async def cull(self) -> Findings:
        """Stop servers that are idle, too old or were not opened, some at a time, and tell those whose end is near."""
        found = {"idle": 0, "max_age": 0, "unopened": 0, "warned": 0, "used_after_all": 0, "put_off": 0}
        await self._reckon()
        near = await self._near()
        asked = [row for row in near if self._why(row) is not StopReason.MAX_AGE]
        unsure = await self._refresh([row.user_name for row in asked])
        if asked:
            await self._reckon()
            near = await self._near()
        over = [row for row in near if row.ends_at <= row.now]
        gate = asyncio.Semaphore(_AT_ONCE)
        used = await asyncio.gather(*(self._used(gate, row) for row in over if row.user_name not in unsure))
        used_after_all = {name for name in used if name}
        for row in over:
            why = self._why(row)
            if why is not StopReason.MAX_AGE and row.user_name in unsure:
                found["put_off"] += 1
            elif row.user_name in used_after_all:
                found["used_after_all"] += 1
            else:
                found[why.replace("-", "_")] += await self._end(row.launch, row.user_name, why)
        found["warned"] = await self._warn([row for row in near if row.ends_at > row.now and row.user_name not in unsure])
        return found

    def _why(self, row: sa.Row[Any]) -> StopReason:
        """What is too old needs nobody's word, whatever else it is."""
        old = self._settings.max_age and row.now - row.ready_at > timedelta(seconds=self._settings.max_age)
        return StopReason.MAX_AGE if old else StopReason(row.ends_why)

    async def _reckon(self) -> None:
        settings = self._settings
        if not self._deeds.dry:
            await self._db.rows(_ENDS, {
                "max_age": settings.max_age, "idle": settings.idle, "unopened": settings.unopened, "opened": _OPENED,
                "warn": settings.warn})

    async def _near(self) -> list[sa.Row[Any]]:
        return await self._db.rows(_NEAR, {"warn": self._settings.warn, "most": self._settings.batch})

    async def _refresh(self, names: Sequence[str]) -> set[str]:
        """Ask the hub for the newest activity of these; the answer are those of whom it said nothing."""
        gate, users, unsure = asyncio.Semaphore(_AT_ONCE), list[User](), set[str]()

        async def ask(name: str) -> None:
            async with gate:
                try:
                    user = await self._hub.user(name)
                except DockyardError as error:
                    if not unsure:
                        log.info("cull_put_off", reason=error.sentence)
                    unsure.add(name)
                    return
                if user is not None:
                    users.append(user)

        await asyncio.gather(*(ask(name) for name in names))
        await self._note(users)
        return unsure

    async def _used(self, gate: asyncio.Semaphore, row: sa.Row[Any]) -> str:
        """The server's name if it knows itself of use that the hub has not seen, which is then written down; otherwise ""."""
        why = self._why(row)
        if why is StopReason.MAX_AGE or not self._settings.busy or not row.url or self._secret is None or self._deeds.dry:
            return ""
        async with gate:
            use = await self._asked.use(row.url, self._secret.server_token(row.id))
        if use is None:  # It does not tell. Whether it was opened is not known then, and it ends when it is idle.
            return row.user_name if why is StopReason.UNOPENED else ""
        last: datetime = row.now if use.busy else min(use.last, row.now)
        used = bool(last > row.ready_at + timedelta(seconds=_OPENED) if why is StopReason.UNOPENED else (
            row.now - max(last, row.ready_at) < timedelta(seconds=self._settings.idle)))
        if used:
            await self._db.rows(_ACTIVITY, {"names": [row.user_name], "ats": [max(last, row.ready_at).timestamp()]})
        return row.user_name if used else ""

    async def _end(self, launch: str, name: str, reason: StopReason) -> int:
        if not self._deeds.may("server_ends", f"stop the server {name} ({reason})", launch=launch[:12], why=reason):
            return 1
        moved = await self._teller.move(Move(
            launch, None, allowed=frozenset({LaunchState.READY}),
            values={"target": LaunchTarget.STOPPED, "stop_reason": reason, "due_in": 0}))
        self._teller.bell.ring(LAUNCHES)
        return moved is not None

    async def _warn(self, rows: Sequence[sa.Row[Any]]) -> int:
        """Tell launches that their servers will end."""
        rows = [row for row in rows if row.warned_at is None]
        if not rows or self._deeds.dry:
            return 0
        moves = [
            Move(row.launch, None, (NewEvent(Kind.ENDING, {
                "ends_at": row.ends_at.timestamp(), "why": row.ends_why, "message": _WORDS[StopReason(row.ends_why)]}),),
                allowed=frozenset({LaunchState.READY})) for row in rows
        ]

        async def work(conn: AsyncConnection) -> dict[str, list[StoredEvent]]:
            moved = await move_launches(conn, moves)
            await conn.execute(_WARNED, {"launches": sorted(moved)})
            return moved

        moved = await self._db.run(work)
        self._teller.told(moves, moved)
        return len(moved)
