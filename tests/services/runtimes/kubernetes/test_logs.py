"""Lines of a build's log as the user gets them."""

import pytest

from services.runtimes.base import LogLine
from services.runtimes.kubernetes.logs import Position, taken

LINES = {
    b'{"message": "Cloning\\n", "phase": "fetching"}\n': LogLine("fetching", "Cloning\n"),
    b'{"message": "no end", "phase": "pushing"}\n': LogLine("pushing", "no end\n"),
    b'{"message": "no phase\\n"}\n': LogLine("building", "no phase\n"),
    b'{"message": "Error during build\\n", "phase": "failed"}\n': LogLine("building", "Error during build\n"),
    b'{"message": "a trick\\n", "phase": "ready"}\n': LogLine("building", "a trick\n"),
    b'{"message": 7}\n': LogLine("building", '{"message": 7}\n'),
    b"{not json}\r\n": LogLine("building", "{not json}\n"),
    b"\xff\xfe\n": LogLine("building", "\ufffd\ufffd\n"),
    b"\n": LogLine("building", "\n"),
}


@pytest.mark.parametrize("raw", LINES)
def test_lines(raw: bytes) -> None:
    """JSON of the build program, or anything else; never a word that would end a client's stream."""
    assert taken(Position(1), [raw]) == [LINES[raw]]


def test_a_line_without_a_phase_has_the_last_one() -> None:
    """And the position moves on by lines."""
    at = Position(5)
    found = taken(at, [b'{"message": "a", "phase": "pushing"}\n', b"b\n"])
    assert [line.phase for line in found] == ["pushing", "pushing"]
    assert at.line == 7


def test_the_programs_own_word_for_the_failure_is_kept() -> None:
    """It becomes the reason where the pod knows only a status."""
    at = Position(1)
    taken(at, [b'{"message": "Error during build: no\\n", "phase": "failed"}\n', b"more\n"])
    assert at.reason.sentence() == "no"
