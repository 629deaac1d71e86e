"""An image's name, taken apart as Docker does: `[host[:port]/]repository[:tag|@digest]`.

The host in the name is how an engine finds the registry; how *we* reach it is the setting `registry.url`, so the host
is only cut off here. Source: github.com/distribution/reference, and BinderHub's registry.py for the same rule.
"""

import re
from dataclasses import dataclass
from typing import Self

from services.errors import Misconfigured

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|[a-z0-9]+:[0-9a-f]{32,}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image in a registry."""

    host: str  # "" for Docker Hub and for images of the engine alone
    repository: str  # such as "binder/r2d-example-49f472"
    tag: str  # a tag, or a digest such as sha256:…

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a name; a missing tag is `latest`. `Misconfigured` where no registry would take it."""
        first, slash, rest = name.partition("/")
        named = bool(slash) and (any(mark in first for mark in ".:") or first == "localhost")
        host, rest = (first, rest) if named else ("", name)
        if "@" in rest:
            repository, _, tag = rest.partition("@")
            repository = repository.partition(":")[0]
        else:
            repository, _, tag = rest.partition(":")
        tag = tag or "latest"
        if not _REPOSITORY.fullmatch(repository) or not _TAG.fullmatch(tag):
            raise Misconfigured(f"{name!r} is not the name of an image; look at the setting builds.image_prefix.")
        return cls(host, repository, tag)

    def __str__(self) -> str:
        mark = "@" if ":" in self.tag else ":"
        return f"{self.host}/{self.repository}{mark}{self.tag}".removeprefix("/")
