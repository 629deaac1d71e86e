"""Log lines as plain text: without colours and cursor movements, a progress bar as it stood last; and which of them matter."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.db import Database
from services.usecases.jobs import tail

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# What says in many tools' words that something went wrong. Linear in the length of a line, which a stranger has written.
_BAD = re.compile(
    r"^\s*(?:error|fatal|exception)\b|\b(?:ERROR|FATAL|Error|error|fatal)\b\s?[:!]|Traceback \(most recent|No matching distribution"
    r"|Could not find a version|not found\b|No such file|Permission denied|exit(?:ed)? (?:with )?(?:code|status)|Killed\b")
_LOOKED_AT = 400  # lines from the end of a log
_KEPT = 200  # builds: below 2 MB
_MOST, _LAST, _LONG = 8, 6, 1000  # lines that matter, lines shown where none does, characters of one


def plain(lines: Sequence[str]) -> list[str]:
    """The messages of stored lines."""
    return [_clean(str(json.loads(line)["message"])) for line in lines]


def _clean(message: str) -> str:
    message = _ESCAPES.sub("", message).rstrip("\r\n")
    return _UNSEEN.sub("", message.rsplit("\r", 1)[-1])


@dataclass(frozen=True, slots=True)
class Matter:
    """Lines of a failed build's log. `found`: they say what went wrong, as far as one can tell; otherwise they are its last ones."""

    lines: tuple[str, ...] = ()
    found: bool = False


class Matters:
    """The lines that matter in the logs of failed builds, which do not change any more; kept for those that were asked for last.

    Looking costs some 50 ms for a hostile log, and three hundred may come to the page of one build at the same moment.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Matter] = {}
        self._lock = asyncio.Lock()

    async def of(self, db: Database, build: str) -> Matter:
        """Of one failed build."""
        async with self._lock:
            found = self._kept.pop(build, None)
            if found is None:
                _, stored = await tail(db, build, _LOOKED_AT)
                found = matter_of(stored)
            self._kept[build] = found
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return found


def matter_of(stored: Sequence[str]) -> Matter:
    """The lines that matter in stored lines, whose messages may be parts of a line."""
    text = "".join(str(json.loads(line)["message"]) for line in stored)
    lines = [clean[:_LONG].strip() for line in text.split("\n") if (clean := _clean(line)).strip()]
    bad = [line for line in lines if _BAD.search(line)]
    return Matter(tuple(bad[-_MOST:] or lines[-_LAST:]), bool(bad))
