"""Patterns: what matches, and that no text makes matching slow."""

import re

import pytest

from services.errors import BadRequest
from services.patterns import LONGEST, glob, read_pattern


@pytest.mark.parametrize(("pattern", "name", "matches"), [
    ("github.com/org/name", "github.com/org/name", True),
    ("github.com/org/name", "github.com/org/names", False),
    ("github.com/org/*", "github.com/org/name", True),
    ("github.com/org/*", "github.com/org2/name", False),
    ("https://GitHub.com/Org/Name/", "github.com/org/name", True),
    ("*/miner", "github.com/a/miner", True),
    ("*/miner", "github.com/a/miner2", False),
    ("*mine*r*", "a/miner", True),
    ("a*a", "a", False),  # one character is not two
    ("a*b*b", "ab", False),
    ("*", "anything/at/all", True),
    ("gh/org/[a]", "gh/org/a", False),  # only the star is special
    ("gh/org/?", "gh/org/a", False),
    ("gh/o.g/*", "gh/org/x", False),
    ("^gh/(a|b)/.*", "gh/a/x", True),
    ("^gh/(a|b)/.*", "gh/c/x", False),
    ("^GH/A", "gh/a/x", True),
])
def test_what_matches(pattern: str, name: str, matches: bool) -> None:
    assert read_pattern(pattern).matches(name) is matches


@pytest.mark.parametrize("pattern", ["", "  ", "^(", "^(?!gh/org/).*", r"^(a)\1", "^" + "a" * LONGEST, "^(a{1000}){1000}"])
def test_what_is_no_pattern_is_refused_with_a_sentence(pattern: str) -> None:
    with pytest.raises(BadRequest):
        read_pattern(pattern)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(.*a){20}$", "*a*a*a*a*a*a*a*a*a*a*a*b"])
def test_no_text_makes_matching_slow(pattern: str) -> None:
    """It returns at all: the first two take Python's own engine longer than the age of the universe here."""
    assert not read_pattern(pattern).matches("a" * 2000 + "!")


def test_globs_say_what_a_regular_expression_says() -> None:
    """All short globs on all short texts, against the engine that may backtrack on texts of this length."""
    texts = [f"{a}{b}{c}" for a in ("", "a", "b") for b in ("", "a", "ab") for c in ("", "b", "ba")]
    for pattern in (f"{a}{b}{c}{d}" for a in ("", "*", "a") for b in ("a", "*") for c in ("*", "b") for d in ("", "*", "b", "a")):
        expression = re.compile(".*".join(re.escape(part) for part in pattern.split("*")))
        for text in texts:
            assert glob(pattern).matches(text) is (expression.fullmatch(text) is not None), (pattern, text)
