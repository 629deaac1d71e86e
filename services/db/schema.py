"""The newest revision that this code has, and which living processes have an older one: without loading Alembic."""

from functools import cache
from pathlib import Path

import sqlalchemy as sa

from services.db.engine import Database

_VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"
_OLDER = sa.text("""
    SELECT owner FROM process WHERE seen_at > now() - interval '60 seconds' AND coalesce(facts->>'schema', '') < :newest ORDER BY owner
""")


@cache
def newest() -> str:
    """The number that the names of the migrations begin with."""
    return max(path.name[:4] for path in _VERSIONS.glob("[0-9]*.py"))


async def older(db: Database) -> list[str]:
    """The processes in the roll whose code is older than ours: while there are any, nothing that they need may be removed.

    A process is thought alive for a minute after it has last written.
    """
    return [row.owner for row in await db.rows(_OLDER, {"newest": newest()})]
