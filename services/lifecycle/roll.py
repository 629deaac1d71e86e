"""The roll of living processes: each writes every few seconds that it is there, and what it is busy with.

Leases say who works on a row; the roll also knows those who have nothing to do, so that "nobody could take this" can be told
from "nobody has taken this yet". Nothing depends on it. """

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
import structlog

from services import VERSION
from services.db import Database
from services.db.schema import newest
from services.errors import DockyardError

log = structlog.get_logger()
EVERY = 5.0  # seconds
SILENT = 30  # seconds after which a process that has not written is taken for dead

_HERE = sa.text("""
    WITH old AS (DELETE FROM process WHERE seen_at < now() - interval '1 hour')
    INSERT INTO process (owner, name, host, version, facts) VALUES (:owner, :name, :host, :version, CAST(:facts AS jsonb))
    ON CONFLICT (owner) DO UPDATE SET seen_at = now(), facts = excluded.facts
""")
_GONE = sa.text("DELETE FROM process WHERE owner = :owner")


class Roll:
    """One process's line in the roll. `facts` are small and hold no secret."""

    def __init__(self, db: Database, owner: str, name: str, facts: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._db = db
        self._line = {"owner": owner, "name": name, "host": socket.gethostname(), "version": VERSION}
        self._facts = facts

    async def run(self) -> None:
        """Write for ever."""
        while True:
            try:
                await self._db.rows(_HERE, {**self._line, "facts": json.dumps({**self._facts(), "schema": newest()})})
            except DockyardError as error:
                log.warning("roll_not_written", reason=error.sentence)
            await asyncio.sleep(EVERY)

    async def leave(self) -> None:
        """Take the line out; a process that cannot is taken for dead half a minute later."""
        try:
            async with asyncio.timeout(2):
                await self._db.rows(_GONE, {"owner": self._line["owner"]})
        except (DockyardError, TimeoutError) as error:
            log.info("roll_not_left", reason=str(error))
