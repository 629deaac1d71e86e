"""Log lines as text, and which of them matter."""

import json

import pytest

from api.lines import matter_of, plain


def stored(*messages: str) -> list[str]:
    return [json.dumps({"phase": "building", "message": message}) for message in messages]


def test_colours_bars_and_controls_are_left_out() -> None:
    messages = "\x1b[31mred\x1b[0m\n", "10%\r50%\rdone\n", "x\x1b[2K\x1b]8;;http://evil\x07link\x1b]8;;\x07\n", "a\x00b\x08\n"
    assert plain(stored(*messages)) == ["red", "done", "xlink", "ab"]


@pytest.mark.parametrize(
    ("messages", "lines", "found"),
    [
        ((), (), False),
        (("one\n", "\n", "two\n"), ("one", "two"), False),
        (tuple(f"{n}\n" for n in range(20)), ("14", "15", "16", "17", "18", "19"), False),
        (("fine\n", "\x1b[31mERROR: No matching distribution found for torchh\x1b[0m\n", "bye\n"),
         ("ERROR: No matching distribution found for torchh",), True),
        (("ERR", "OR: in parts\n"), ("ERROR: in parts",), True),  # a line may be stored in parts
        (("Traceback (most recent call last):\n", "  File 'x'\n", "exited with code 1\n", "0 errors\n", "errors were found\n"),
         ("Traceback (most recent call last):", "exited with code 1"), True),
        (tuple(f"error: {n}\n" for n in range(20)), tuple(f"error: {n}" for n in range(12, 20)), True),
        (("error: " + "x" * 5000 + "\n",), ("error: " + "x" * 993,), True),
    ],
)
def test_what_says_that_something_went_wrong_is_found(messages: tuple[str, ...], lines: tuple[str, ...], found: bool) -> None:
    assert (matter_of(stored(*messages)).lines, matter_of(stored(*messages)).found) == (lines, found)


@pytest.mark.parametrize(
    "text", ["error" + " " * 8000, "error " * 1400, "exit " * 1600, " " * 8190, "\x1b[" * 4000, "\x1b]" * 4000, "\r" * 8190])
def test_a_hostile_log_is_looked_through(text: str) -> None:
    assert all(len(line) <= 1000 for line in matter_of(stored(*[text + "\n"] * 400)).lines)  # by a quadratic pattern in minutes
