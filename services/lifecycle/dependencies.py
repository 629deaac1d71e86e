"""What we stand on: whether it answers, and since when it does or does not.

Whoever finds out notes it; the ops page shows it. A name is what people call the thing: Docker engine, Registry, github.com. """

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from services.db import Database
from services.errors import DockyardError

_PATIENCE = 5.0  # seconds for an answer

_NOTE = sa.text("""
    INSERT INTO dependency (name, ok, detail) VALUES (:name, :ok, :detail)
    ON CONFLICT (name) DO UPDATE SET ok = excluded.ok, detail = excluded.detail, checked_at = now(),
      since = CASE WHEN dependency.ok = excluded.ok THEN dependency.since ELSE now() END
""")
_ALL = sa.text("SELECT name, ok, since, checked_at, detail FROM dependency WHERE checked_at > now() - interval '10 minutes' ORDER BY name")


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing as it was last found. `detail` is a sentence for operators, or empty."""

    name: str
    ok: bool
    since: datetime
    checked_at: datetime
    detail: str = ""


async def note(db: Database, name: str, ok: bool, detail: str = "") -> None:
    """Note what has been found; not noted for ten minutes, a thing is forgotten."""
    await db.rows(_NOTE, {"name": name, "ok": ok, "detail": detail[:400]})


async def known(db: Database) -> list[Dependency]:
    """Everything that has been looked at lately."""
    return [Dependency(row.name, row.ok, row.since, row.checked_at, row.detail) for row in await db.rows(_ALL)]


async def look(db: Database, checks: Mapping[str, Callable[[], Awaitable[object]]]) -> dict[str, int]:
    """Ask everything at once and note the answers; how many are missing, for a sweep."""
    found = await asyncio.gather(*(_missing(ask) for ask in checks.values()))
    for name, sentence in zip(checks, found, strict=True):
        await note(db, name, sentence is None, sentence or "")
    return {"missing": sum(sentence is not None for sentence in found)}


async def _missing(ask: Callable[[], Awaitable[object]]) -> str | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            await ask()
    except (DockyardError, OSError, TimeoutError) as error:
        return getattr(error, "sentence", f"No answer within {_PATIENCE:.0f} seconds.")
    return None
