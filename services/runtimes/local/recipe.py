"""What an environment is made of, its key, and the sentences about it in the log. Pure.

The key is a digest of every input: what the plan has read from the repository, Python, the platform, Jupyter's requirements, the
version of this recipe. The content of the repository (the id of its tree, without .git) joins whenever the environment reads it.
"""

import hashlib
import json
import platform
import re
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from services.errors import BuildFailed

RECIPE = "1"  # rises when the same inputs would give another environment


@dataclass(frozen=True, slots=True)
class Recipe:
    """A plan as `steps/plan.py` has written it, checked; what it says about places in files does not join the key."""

    kind: str
    python: str  # version in full
    requirements: tuple[tuple[str, str, int, str], ...] = ()  # text, file, line, name
    constraints: tuple[tuple[str, str, int, str], ...] = ()
    options: tuple[tuple[str, str, int, str], ...] = ()
    flags: tuple[str, ...] = ()
    builds: bool = False  # something is certainly built from source
    reads: tuple[str, ...] = ()  # why the content belongs to the environment: clauses
    pinned: bool = False
    post_build: str = ""
    start: str = ""
    conda: Mapping[str, Any] | None = None  # path, channels, specs, mapped, absent, python, missing
    with_conda: bool = False  # whether conda's channels answer and it is solved by them
    tree: str = ""  # id of the tree at the commit
    notices: tuple[str, ...] = ()

    @classmethod
    def read(cls, plan: Mapping[str, Any]) -> Self:
        """From the file of a sandbox, which is not trusted: raises `BuildFailed` if it is not what a plan is."""
        try:
            for name in ("post_build", "start"):
                path = str(plan[name])
                if path.startswith("/") or ".." in path.split("/"):
                    raise ValueError(path)
            return cls(
                kind=str(plan["kind"]), python=str(plan["python"]), requirements=_lines(plan["requirements"]),
                constraints=_lines(plan["constraints"]), options=_lines(plan["options"]), flags=_words(plan["flags"]),
                builds=bool(plan["builds"]), reads=_words(plan["reads"]), pinned=bool(plan["pinned"]),
                post_build=str(plan["post_build"]), start=str(plan["start"]), conda=plan["conda"],
                tree=_tree(plan["tree"]), notices=_words(plan.get("notices", ())),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise BuildFailed("The repository's needs could not be read.") from error

    @property
    def content(self) -> bool:
        """Whether the environment is made of the repository's content too."""
        return bool(self.reads)

    @property
    def empty(self) -> bool:
        """Whether the repository asks for nothing: its environment is Jupyter alone."""
        return not (self.requirements or self.constraints or self.options or self.flags or self.reads or self.with_conda)

    def key(self, jupyter: Sequence[str]) -> str:
        """The key of the environment: 64 hex digits."""
        inputs = {
            "recipe": RECIPE, "python": self.python, "platform": f"{sysconfig.get_platform()} {platform.libc_ver()[0]}",
            "jupyter": sorted(jupyter), "requirements": [line[0] for line in self.requirements],
            "constraints": [line[0] for line in self.constraints], "options": [line[0] for line in self.options],
            "flags": list(self.flags), "post_build": self.post_build, "tree": self.tree if self.content else "",
            "conda": [self.conda["channels"], self.conda["specs"]] if self.with_conda and self.conda else None,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    def files(self) -> str:
        """The files that the environment is made of, for a sentence."""
        lines = (*self.requirements, *self.constraints, *self.options)
        names = list(dict.fromkeys(line[1] for line in lines)) + ([str(self.conda["path"])] if self.conda else [])
        names = list(dict.fromkeys(names))
        return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] if names else ""

    def why(self) -> str:
        """A sentence about the key: what a new environment would be made for."""
        if self.content:
            return f"{self.reads[0]}, so every commit needs its own."
        files = self.files()
        if not files:
            return "The repository asks for nothing but Jupyter."
        return f"{files} {'say' if ' and ' in files else 'says'} what is in it."

    def told(self, *, exists: bool) -> str:
        """The line of the log once it is known whether the environment exists."""
        if exists:
            files = self.files()
            return f"Using an environment that exists: {files + ' asks for the same' if files else 'Jupyter alone'}."
        return f"Building a new environment: {self.why()}"

    def with_index(self) -> Self:
        """For environment.yml where conda does not answer: its plain packages as the package index has them.

        Raises `BuildFailed` with the names of what only conda has.
        """
        assert self.conda is not None
        if self.conda["missing"]:
            raise BuildFailed(str(self.conda["missing"]))
        absent = [str(name) for name in self.conda["absent"]]
        if absent:
            raise BuildFailed(
                f"{self.conda['path']} asks for {', '.join(absent[:8])}{', …' if len(absent) > 8 else ''}, which only conda has, "
                f"and conda's channels do not answer here."
            )
        return replace(self, requirements=(*_lines(self.conda["mapped"]), *self.requirements))

    def with_channels(self, default: str) -> Self:
        """For environment.yml where conda answers: it brings its own Python, `default` (such as 3.10) unless it asks for one."""
        assert self.conda is not None
        return replace(self, with_conda=True, python=str(self.conda["python"] or default))

    def json(self) -> dict[str, Any]:
        """For the worker's own file of the plan."""
        return asdict(self)

    @classmethod
    def load(cls, value: Mapping[str, Any]) -> Self:
        """From `json()`."""
        lists = {"requirements", "constraints", "options"}
        fields: dict[str, Any] = {
            name: tuple(tuple(line) for line in one) if name in lists else tuple(one) if isinstance(one, list) else one
            for name, one in value.items()
        }
        return cls(**fields)


def _lines(lines: Any) -> tuple[tuple[str, str, int, str], ...]:
    return tuple((str(text), str(file), int(line), str(name)) for text, file, line, name in lines)


def _words(words: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in words)


def _tree(text: Any) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
        raise ValueError(text)
    return text
