"""Which lines of a part's log are shown, and how."""

import json

import pytest

from cli.embedded.story import Story, shown


@pytest.mark.parametrize(("told", "line"), [
    ({"event": "process_started", "level": "info"}, ""),
    ({"event": "launch_moved", "level": "info", "state": "ready", "launch": "ab" * 16, "timestamp": "now"},
     "launch moved state=ready launch=abababababab…"),
    ({"event": "claim_failed", "level": "warning", "reason": "No database."}, "warning: claim failed reason=No database."),
    ({"event": "broken", "level": "error", "exception": "Traceback\n  File\nKeyError: 'x'"}, "error: broken KeyError: 'x'"),
    ({"event": "build_moved", "level": "info", "reason": ""}, "build moved"),
])
def test_shown(told: dict[str, str], line: str) -> None:
    assert shown(told) == line


@pytest.mark.parametrize("line", ["", "text", "{", "[1]", "{}", '{"event": null}'])
def test_other_lines_are_not(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    Story().hear("api", line)
    assert capsys.readouterr().out == ""


def test_a_flood_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    for number in range(1000):
        story.hear("worker", json.dumps({"event": "launch_moved", "number": number}))
    assert len(capsys.readouterr().out.splitlines()) < 100
