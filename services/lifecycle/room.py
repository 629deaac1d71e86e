"""Whether there is room for another build, as the reaper has found it last.

It looks at the disk, removes what nobody uses, and notes what came of it as the dependency `Disk`; workers go by the note, and
begin no build while it says that the budget is used up.
"""

from services.db import Database
from services.lifecycle import dependencies

DISK = "Disk"


async def note(db: Database, sentence: str) -> None:
    """Note that there is no room, in a sentence, or that there is (an empty one)."""
    await dependencies.note(db, DISK, not sentence, sentence)


async def refusal(db: Database) -> str:
    """Why no build may begin; empty where one may, or where nobody has looked in the last minutes."""
    return next((one.detail for one in await dependencies.known(db) if one.name == DISK and not one.ok), "")
