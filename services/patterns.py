"""Patterns of specs, matched in a time that grows with the length of the spec and not faster.

Specs are strangers' texts and patterns are many, so nothing here may backtrack. A pattern is a glob, in which `*` stands for
anything and every other character for itself; or, in settings and where it begins with `^`, a regular expression of RE2, which
runs without backtracking. What RE2 leaves out (look-ahead, look-behind, back references) is refused when the pattern is read,
with a sentence; BinderHub's usual `^(?!org/)` is said with `allowed` here. Upper and lower case are the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from services.errors import BadRequest

LONGEST = 500  # characters of a pattern


class Pattern(Protocol):
    """Says whether a name matches. Names are in lower case."""

    def matches(self, name: str) -> bool:
        """Whether it does."""
        ...


@dataclass(frozen=True, slots=True)
class Glob:
    """The parts between the stars."""

    parts: tuple[str, ...]

    def matches(self, name: str) -> bool:
        """Each part is looked for once, behind the one before: the leftmost place is as good as any other."""
        first, *middle = self.parts
        if not middle:
            return name == first
        last = middle.pop()
        if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
            return False
        at, end = len(first), len(name) - len(last)
        for part in middle:
            at = name.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


class Expression:
    """A regular expression, matched from the begin of a name on as BinderHub does."""

    def __init__(self, text: str) -> None:
        import re2  # here, since everything that reads settings has this module, and little of it has patterns

        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        options.max_mem = 1 << 20  # bytes; what needs more is refused here
        try:
            self._found: Any = re2.compile(text, options)
        except re2.error as error:
            said = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
            raise BadRequest(
                f'"{text[:80]}" is no regular expression here: {said}. They are those of RE2, without look-ahead, look-behind and back '
                "references; to allow some only, write what is allowed."
            ) from error

    def matches(self, name: str) -> bool:
        """Whether it does."""
        return self._found.match(name) is not None


def glob(text: str) -> Glob:
    """Read a glob; the `https://` of a pasted address and a slash at its end are left out."""
    text = text.strip().lower()
    for scheme in ("https://", "http://"):
        text = text.removeprefix(scheme)
    return Glob(tuple(text.rstrip("/").split("*")))


def read_pattern(text: str) -> Pattern:
    """A pattern as an operator writes it at run time. Raises `BadRequest`."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        raise BadRequest(f"A pattern has 1 to {LONGEST} characters.")
    return Expression(text) if text.startswith("^") else glob(text)


def any_matches(pattern: Pattern, names: Iterable[str]) -> bool:
    """Whether one of the names matches."""
    return any(pattern.matches(name) for name in names)
