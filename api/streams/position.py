"""Where a reader stands in a launch's stream: `<launch>.<event>.<line>`, as the `id:` of every event says."""

import re
from typing import NamedTuple


class Position(NamedTuple):
    """The last event and, where a build is being watched after it, the last line of its log."""

    event: int = 0
    line: int = 0


_ID = re.compile(r"([0-9a-f]{32})\.(\d{1,9})\.(\d{1,9})")


def read(text: str) -> tuple[str, Position] | None:
    """The launch and position of a `Last-Event-ID`; None if it is none of ours."""
    found = _ID.fullmatch(text.strip())
    return (found[1], Position(int(found[2]), int(found[3]))) if found else None
