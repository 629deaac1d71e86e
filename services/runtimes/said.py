"""What a build container says, line by line: repo2docker's JSON, plain text of what it starts, and facts for the worker."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from services.runtimes.base import LogLine

_PHASES = frozenset({"fetching", "building", "pushing", "failed"})
# What a builder says last when it gives up; the last of them is the reason. repo2docker itself only tells the command's status.
_OWN = re.compile(r"^(?:#\d+ )?(?:\d+\.\d+ )?(ERROR|Error|error)\b[: ].*")
_DULL = re.compile(r"Error during build: Command '.*' returned non-zero exit status|^Error during build: \[|^Error: exit status \d+$")
# A registry that could not be asked for a base image, in the words of buildah and buildx: it may be back in a moment.
_AWAY = re.compile(
    r"pinging container registry|failed to do request: |unexpected status (?:code )?from \w+ request to \S+ (?:429|5\d\d)\b"
    r"|(?:initializing source|reading manifest|reading blob|copying) .*"
    r"(?:connection re(?:fused|set)|timeout|unexpected EOF|no route to host|status(?: code)?:? (?:429|5\d\d)\b|toomanyrequests)")


@dataclass(frozen=True, slots=True)
class Fact:
    """A line that is not for people."""

    values: dict[str, Any]


def read(raw: bytes, phase: str) -> LogLine | Fact:
    """One line of output, without its end; `phase` is that of the line before."""
    text = raw.decode("utf-8", "replace")
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, dict):
            facts = found.get("dockyard")
            if isinstance(facts, dict) and len(found) == 1:
                return Fact(facts)
            if isinstance(found.get("message"), str):
                named = found.get("phase")
                message = found["message"].replace("\0", "")
                return LogLine(named if named in _PHASES else phase, message if message.endswith(("\n", "\r")) else message + "\n")
    return LogLine(phase, text.replace("\0", "") + "\n")


class Lines:
    """Cuts chunks into lines; what has no end yet waits, but not without bounds."""

    def __init__(self, longest: int = 1 << 20) -> None:
        self._rest = b""
        self._longest = longest

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are whole by now."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > self._longest:
            whole.append(self._rest)
            self._rest = b""
        return whole

    def close(self) -> list[bytes]:
        """What is left at the end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


@dataclass(slots=True)
class Reason:
    """Remembers what was said on the way, to tell why a build has failed."""

    own: str = ""  # the builder's own words
    failed: str = ""  # repo2docker's
    last: str = ""
    step: str = field(default="")  # what the builder was doing

    def hear(self, line: LogLine) -> None:
        """Take one line in."""
        for text in filter(None, map(str.strip, line.message.splitlines())):
            self.last = text
            if line.phase == "failed":
                self.failed = self.failed if _DULL.search(text) and self.failed else text
            elif _OWN.match(text) and not _DULL.search(text):
                self.own = re.sub(r"^(?:#\d+ )?(?:\d+\.\d+ )?", "", text)

    def sentence(self) -> str:
        """Why, in the words of whoever failed."""
        said = self.failed if self.failed and not _DULL.search(self.failed) else self.own or self.failed or self.last
        said = said.removeprefix("Error during build: ").strip()
        return said[:1000] or "The build failed without a word."

    @property
    def passing(self) -> bool:
        """Whether it failed for want of an answer of a registry; a line of the repository's may say so, too."""
        return bool(_AWAY.search(self.sentence()))
