"""Orphans: what really is there and no row knows, found by listing reality and comparing, in that order.

A row is written before anything is made for it, so what is listed first and has no row afterwards is nobody's (or its row has
expired). A thing's own age is told by reality, and a row that has ended tells since when: nothing depends on how long this
process has been looking. The other way round, a row that says that something runs which does not: of servers the sweep
`activity` finds it, of builds their owners do, who have a lease.
"""

import time
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
import structlog

from reaper.deeds import Deeds
from reaper.sweeps import Findings
from services.db import Database
from services.errors import DockyardError
from services.hub.client import Hub
from services.runtimes.base import Reality
from services.settings import ReaperSettings

log = structlog.get_logger()
_ORDER = {"build": 0, "server": 0, "container": 0, "process": 0}  # what runs first, then what it has used

_BUILDS = sa.text("""
    SELECT id, attempt, state IN ('queued', 'fetching', 'building', 'pushing') AS live, extract(epoch FROM ended_at)::float8 AS ended
    FROM build WHERE id = ANY(CAST(:ids AS text[]))
""")
_SERVERS = sa.text("""
    SELECT user_name, state <> 'stopped' AS live, extract(epoch FROM stopped_at)::float8 AS ended
    FROM server WHERE user_name = ANY(CAST(:names AS text[]))
""")


class Orphans:
    """Everything that is there, compared with the rows."""

    def __init__(
        self, db: Database, hub: Hub, reality: Reality, settings: ReaperSettings, deeds: Deeds | None = None, *, exclusive: bool,
    ) -> None:
        """`exclusive`: all users of this hub are ours."""
        self._db = db
        self._hub = hub
        self._reality = reality
        self._settings = settings
        self._exclusive = exclusive
        self._deeds = deeds or Deeds()

    async def things(self) -> Findings:
        """Remove what builds and servers have left in the runtime."""
        found: dict[str, int] = {}
        things = await self._reality.things()
        owners = {thing.owner for thing in things if thing.owner}
        known = await self._known_builds(owners) | await self._known_servers(owners)
        for thing in sorted(things, key=lambda one: _ORDER.get(one.kind, 1)):
            ended = known.get(thing.owner, 0.0)
            if ended is None or not (thing.owner in known or thing.certain or self._exclusive) or not self._old(max(thing.since, ended)):
                continue
            if not self._deeds.may("orphan_removed", f"remove the {thing.kind} {thing.name}", kind=thing.kind, name=thing.name):
                found[thing.kind] = found.get(thing.kind, 0) + 1
                continue
            try:
                await self._reality.clear(thing)
                found[thing.kind] = found.get(thing.kind, 0) + 1
            except (DockyardError, OSError) as error:
                log.warning("orphan_not_removed", kind=thing.kind, name=thing.name, reason=str(error))
        return found

    async def _known_builds(self, owners: Iterable[str]) -> dict[str, float | None]:
        ids = {owner: owner[6:].rpartition("-") for owner in owners if owner.startswith("build-")}
        rows = {row.id: row for row in await self._db.rows(_BUILDS, {"ids": sorted({build for build, _, _ in ids.values()})})}
        found: dict[str, float | None] = {}
        for owner, (build, _, attempt) in ids.items():
            row = rows.get(build)
            if row is not None:
                found[owner] = None if row.live and str(row.attempt) == attempt else row.ended or 0.0
        return found

    async def _known_servers(self, names: Iterable[str]) -> dict[str, float | None]:
        rows = await self._db.rows(_SERVERS, {"names": sorted(names)})
        return {row.user_name: None if row.live else row.ended or 0.0 for row in rows}

    def _old(self, since: float) -> bool:
        return time.time() - since >= self._settings.orphan_age

    async def users(self) -> Findings:
        """Remove users of the hub that ought not to be there, and let it mend routes of servers that are not there.

        On a hub that serves others too, a user is ours only if a row says so.
        """
        routes = await self._hub.routes() if self._exclusive else {}
        users: dict[str, float] = {}
        async for page in self._hub.pages():
            users |= {user.name: user.created.timestamp() if user.created else 0.0 for user in page}
        known = await self._known_servers(users)
        removed = 0
        for name, since in users.items():
            ended = known.get(name, 0.0)
            if ended is None or not (name in known or self._exclusive) or not self._old(max(since, ended)):
                continue
            if self._deeds.may("orphan_removed", f"remove the hub's user {name}", kind="user", name=name):
                try:
                    await self._hub.remove(name)
                except DockyardError as error:
                    log.warning("orphan_not_removed", kind="user", name=name, reason=error.sentence)
                    continue
            removed += 1
        return {"users": removed, "routes": await self._routes(routes, users)}

    async def _routes(self, routes: Mapping[str, str], users: Mapping[str, float]) -> int:
        """Routes to servers of users that the hub has not had, neither before nor after these were read."""
        stray = {path for path in routes if (name := _user_of(path)) and name not in users}
        if stray and self._deeds.may("routes_mended", f"let the hub mend {len(stray)} stray routes", number=len(stray)):
            await self._hub.mend_routes()
        return len(stray)


def _user_of(path: str) -> str:
    """The user in a route such as /user/name/, or an empty text."""
    _, mark, rest = path.partition("/user/")
    return rest.split("/", 1)[0] if mark else ""

