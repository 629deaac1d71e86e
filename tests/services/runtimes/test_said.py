"""Lines of a build container: what they mean, and which of them is the reason."""

import pytest

from services.runtimes.base import LogLine
from services.runtimes.said import Fact, Lines, Reason, read


@pytest.mark.parametrize(("raw", "found"), [
    ('{"message": "Cloning\\n", "phase": "fetching"}', LogLine("fetching", "Cloning\n")),
    ('{"message": "Picked Git content provider.\\n"}', LogLine("building", "Picked Git content provider.\n")),
    ('{"message": "no end", "phase": "building"}', LogLine("building", "no end\n")),
    ('{"message": "a\\r", "phase": "pushing"}', LogLine("pushing", "a\r")),
    ('{"message": "x", "phase": "running"}', LogLine("building", "x\n")),
    ("RuntimeWarning: line buffering", LogLine("building", "RuntimeWarning: line buffering\n")),
    ('{"message": 3}', LogLine("building", '{"message": 3}\n')),
    ("{broken", LogLine("building", "{broken\n")),
    ("[1, 2]", LogLine("building", "[1, 2]\n")),
    ('{"dockyard": {"plan": "k"}}', Fact({"plan": "k"})),
    ('{"dockyard": {"plan": "k"}, "message": "x"}', LogLine("building", "x\n")),
    ('{"message": "nul\\u0000", "phase": "building"}', LogLine("building", "nul\n")),
    ("", LogLine("building", "\n")),
])
def test_a_line(raw: str, found: LogLine | Fact) -> None:
    assert read(raw.encode(), "building") == found


def test_what_is_not_utf8_survives() -> None:
    assert read(b"caf\xe9", "building") == LogLine("building", "caf\ufffd\n")


def test_chunks_become_lines_wherever_they_are_cut() -> None:
    text = b"one\ntwo\n\nfour\nlast"
    for size in range(1, len(text)):
        cut, found = Lines(), list[bytes]()
        for start in range(0, len(text), size):
            found += cut.feed(text[start:start + size])
        assert [*found, *cut.close()] == [b"one", b"two", b"", b"four", b"last"]


def test_a_line_without_an_end_does_not_grow_for_ever() -> None:
    cut = Lines(longest=10)
    assert cut.feed(b"x" * 25) == [b"x" * 25]
    assert cut.close() == []


@pytest.mark.parametrize(("lines", "sentence"), [
    # buildx: repo2docker itself only tells the status of the command.
    ([("building", "#5 0.4 /bin/sh: 1: nonsense: not found"), ("building", "ERROR: failed to solve: executor failed running [nonsense]"),
      ("failed", "Error during build: Command '['docker', 'buildx']' returned non-zero exit status 1.")],
     "ERROR: failed to solve: executor failed running [nonsense]"),
    # buildah
    ([("building", "STEP 2/2: RUN false"), ("building", 'Error: building at STEP "RUN false": exit status 1'),
      ("failed", 'Error during build: Error: building at STEP "RUN false": exit status 1')],
     'Error: building at STEP "RUN false": exit status 1'),
    # repo2docker's own words
    ([("fetching", "Cloning"), ("failed", "Error during build: Found invalid package name X in apt.txt")],
     "Found invalid package name X in apt.txt"),
    ([("failed", "Failed to clone repository from https://example.org/x.")], "Failed to clone repository from https://example.org/x."),
    ([("building", "the last line")], "the last line"),
    ([], "The build failed without a word."),
])
def test_the_reason_is_the_builders_own_message(lines: list[tuple[str, str]], sentence: str) -> None:
    reason = Reason()
    for phase, message in lines:
        reason.hear(LogLine(phase, message + "\n"))
    assert reason.sentence() == sentence


@pytest.mark.parametrize(("line", "passing"), [
    ('Error: creating build container: initializing source docker://10.0.0.9:5000/base:1: pinging container registry 10.0.0.9:5000: '
     'StatusCode: 404, "404 page not found"', True),
    ('Error: creating build container: reading manifest 1 in r.example/b: unexpected HTTP status: 503 Service Unavailable', True),
    ("Error: initializing source docker://r.example/base:1: reading blob sha256:1: read tcp: connection reset by peer", True),
    ('ERROR: failed to solve: r.example/b:1: failed to resolve source metadata: failed to do request: Head "https://r.example": EOF', True),
    ("ERROR: failed to solve: r.example/base:1: unexpected status from HEAD request to https://r.example/v2/: 502 Bad Gateway", True),
    ("Error: creating build container: reading manifest 9 in r.example/base: manifest unknown", False),
    ("ERROR: failed to solve: r.example/base:9: not found", False),
    ('Error: building at STEP "RUN pip install x": while running runtime: exit status 1', False),
])
def test_a_registry_that_is_away_for_a_moment_is_worth_another_attempt(line: str, passing: bool) -> None:
    reason = Reason()
    reason.hear(LogLine("building", f"{line}\n"))
    assert reason.passing is passing
