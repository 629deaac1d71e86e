"""Writing down which launches somebody watches, so that the reaper can tell which nobody does.

Only of those that have been under way for a minute, once a minute, whoever watches them, in whichever process: most launches
are over before.
"""

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa
import structlog

from api.streams.fanout import Fanout
from services.db import Database
from services.errors import DockyardError

log = structlog.get_logger()
_EVERY = 20.0  # seconds
_BATCH = 500
_WATCHED = sa.text("""
    WITH w AS (
      SELECT id FROM launch WHERE id = ANY(CAST(:ids AS text[])) AND ended_at IS NULL AND created_at < now() - interval '1 minute'
        AND (watched_at IS NULL OR watched_at < now() - interval '1 minute') ORDER BY id FOR UPDATE SKIP LOCKED)
    UPDATE launch SET watched_at = now() FROM w WHERE launch.id = w.id
""")


async def seen(db: Database, launches: Sequence[str]) -> None:
    """Somebody watches these launches, or has asked for them."""
    await db.rows(_WATCHED, {"ids": list(launches)})


async def note(db: Database, fanout: Fanout) -> None:
    """Write down what is watched in this process, for ever."""
    while True:
        await asyncio.sleep(_EVERY)
        ids = sorted({feed.launch for feed in fanout.feeds() if not feed.of_build and (feed.live or feed.behind)})
        try:
            for start in range(0, len(ids), _BATCH):
                await seen(db, ids[start:start + _BATCH])
        except DockyardError as error:
            log.warning("watched_not_noted", reason=error.sentence)
