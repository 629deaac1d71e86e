"""The end of an upgrade: once no process of the old code is left, what only that needed is removed from the schema.

New processes have brought the migrations of the phase "before"; those of the phase "after" wait for the last process that
cannot do without (see `services.db.migrate`). `./dockyard migrate --phase after` does the same by hand.
"""

import asyncio

import sqlalchemy as sa
import structlog

from reaper.deeds import Deeds
from reaper.sweeps import Findings
from services.db import Database
from services.db.schema import newest, older
from services.settings import DatabaseSettings

log = structlog.get_logger()
_CALM = 90.0  # seconds that no older process must have been seen: one may just be starting, and not in the roll yet


class Schema:
    """The database's schema, and who uses it."""

    def __init__(self, db: Database, settings: DatabaseSettings, deeds: Deeds, *, allowed: bool) -> None:
        self._db = db
        self._url = settings.url.get_secret_value()
        self._deeds = deeds
        self._allowed = allowed
        self._alone_since: float | None = None

    async def finish(self) -> Findings:
        """Run the migrations of the phase "after", if it is time."""
        found = (await self._db.rows(sa.text("SELECT version_num AS revision FROM alembic_version")))[0].revision
        if found >= newest():
            return {"migrations": 0}
        if await older(self._db) or not self._allowed:
            self._alone_since = None
            return {"migrations": 0}
        now = asyncio.get_running_loop().time()
        self._alone_since = self._alone_since or now
        if now - self._alone_since < _CALM and not self._deeds.dry:
            return {"migrations": 0}
        from services.db import migrate

        todo = [step.revision for step in migrate.pending(found)]
        if not self._deeds.may("schema_finished", f"migrate the schema to {todo[-1]}: no older process is left", revision=todo[-1]):
            return {"migrations": len(todo)}
        return {"migrations": len(await migrate.upgrade(self._url, phase=migrate.Phase.AFTER))}
