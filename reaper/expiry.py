"""What is old goes: ended launches with their events, ended builds with their logs, the addresses of clients long before.

Each statement touches some rows only, so that none holds its locks for long; it is repeated until nothing is left to do or
a minute has gone.
"""

import time

import sqlalchemy as sa

from reaper.deeds import Deeds
from reaper.sweeps import Findings
from services.db import Database
from services.settings import ReaperSettings

_MOST = 2000  # rows of one statement
_LONG = 60.0  # seconds of one sweep
_OLD_LAUNCHES = "SELECT id FROM launch WHERE ended_at < now() - :days * interval '1 day' ORDER BY ended_at LIMIT :most"
_OLD_BUILDS = """
    SELECT id FROM build b WHERE ended_at < now() - :days * interval '1 day'
      AND NOT EXISTS (SELECT FROM launch WHERE launch.build = b.id) ORDER BY ended_at LIMIT :most
"""
# `lines` of a build stays: a log that has expired is told from one that nobody has written.
_OLD_LOGS = """
    SELECT id FROM build b WHERE ended_at < now() - :days * interval '1 day'
      AND EXISTS (SELECT FROM log_chunk WHERE build = b.id) ORDER BY ended_at LIMIT :most
"""
_OLD_ADDRESSES = "SELECT id FROM launch WHERE ended_at < now() - :days * interval '1 day' AND client <> '' ORDER BY ended_at LIMIT :most"
_OLD_SERVERS = """
    SELECT id FROM server WHERE state = 'stopped' AND launch IS NULL AND stopped_at < now() - :days * interval '1 day' LIMIT :most
"""
_OLD_IMAGES = """
    SELECT name AS id FROM image i WHERE gone AND used_at < now() - :days * interval '1 day' AND held_until IS NULL
      AND NOT EXISTS (SELECT FROM build WHERE build.image = i.name) LIMIT :most
"""
_TABLE: dict[str, tuple[str, str]] = {
    "launches": (_OLD_LAUNCHES, """
        told AS (DELETE FROM event USING old WHERE event.launch = old.id),
        served AS (DELETE FROM server USING old WHERE server.launch = old.id AND server.state = 'stopped')
        DELETE FROM launch USING old WHERE launch.id = old.id RETURNING launch.id
    """),
    "logs": (_OLD_LOGS, """
        gone AS (DELETE FROM log_chunk USING old WHERE log_chunk.build = old.id) SELECT id FROM old
    """),
    "builds": (_OLD_BUILDS, """
        logged AS (DELETE FROM log_chunk USING old WHERE log_chunk.build = old.id)
        DELETE FROM build USING old WHERE build.id = old.id RETURNING build.id
    """),
    # An address is in the caller's name too, and in what was told of the server.
    "addresses": (_OLD_ADDRESSES, """
        told AS (UPDATE event e SET data = e.data - 'binder_client_ip' FROM old
          WHERE e.launch = old.id AND e.kind = 'ready' AND jsonb_exists(e.data, 'binder_client_ip'))
        UPDATE launch l SET client = '', network = NULL, caller = regexp_replace(l.caller, 'address:.*$', 'address:') FROM old
        WHERE l.id = old.id RETURNING l.id
    """),
    "servers": (_OLD_SERVERS, "x AS (SELECT 1) DELETE FROM server USING old WHERE server.id = old.id RETURNING server.id"),
    "images": (_OLD_IMAGES, "x AS (SELECT 1) DELETE FROM image USING old WHERE image.name = old.id RETURNING image.name"),
}


async def expire(db: Database, settings: ReaperSettings, deeds: Deeds | None = None) -> Findings:
    """Delete what ended longer ago than the settings say."""
    deeds, found, begun = deeds or Deeds(), dict[str, int](), time.monotonic()
    days = {"logs": min(settings.keep_log_days, settings.keep_days), "addresses": settings.keep_address_days}
    for what, (old, act) in _TABLE.items():
        parameters = {"days": days.get(what, settings.keep_days), "most": _MOST}
        found[what] = 0
        if deeds.dry:
            found[what] = len(await db.rows(sa.text(old), parameters))
            kind = {"addresses": "the addresses of clients of", "logs": "the logs of"}.get(what, "")
            things = {"addresses": "launches", "logs": "builds"}.get(what, what)
            deeds.wants(found[what], f"delete {kind} {found[what]} {things}".replace("  ", " "))
            continue
        while time.monotonic() - begun < _LONG:
            number = len(await db.rows(sa.text(f"WITH old AS ({old}), {act}"), parameters))
            found[what] += number
            if number < _MOST:
                break
    return found
