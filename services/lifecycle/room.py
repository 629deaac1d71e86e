"""Whether there is room for another build, as the reaper has found it last.

It looks at the disk, removes what nobody uses, and notes what came of it as the dependency `Disk`; workers go by the note, and
begin no build while it says that the budget is used up.
"""

from typing import NamedTuple

from services.db import Database
from services.lifecycle import dependencies

DISK = "Disk"


class Shortage(NamedTuple):
    """That there is no room, in a sentence, and for how many seconds it has been found so."""

    sentence: str
    seconds: float


async def note(db: Database, sentence: str) -> None:
    """Note that there is no room, in a sentence, or that there is (an empty one)."""
    await dependencies.note(db, DISK, not sentence, sentence)


async def shortage(db: Database) -> Shortage | None:
    """Why no build may begin; None where one may, or where nobody has looked in the last minutes."""
    for one in await dependencies.known(db):
        if one.name == DISK and not one.ok:
            return Shortage(one.detail, (one.checked_at - one.since).total_seconds())
    return None
