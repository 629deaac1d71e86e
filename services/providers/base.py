"""What a provider is: it reads the part of a link after its prefix, and finds out which commit is meant.

BinderHub's grammar of specs is a contract (badges in millions of READMEs); where it is quirky the provider keeps
reading what exists and does the right thing. A provider holds no state but its cache and is shared by all requests of
a process. """

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed link: what was asked for, before any request was made."""

    provider: str  # prefix, such as "gh"
    raw: str  # as in the address, still quoted, without a trailing slash
    repo: str  # the human name: "norvig/pytudes", a URL without credentials, a DOI
    ref: str  # branch, tag, commit or ""; never begins with "-"
    pinned: bool = False  # the ref is already a full commit id: resolving needs no request
    extra: dict[str, str] = field(default_factory=dict)  # what only this provider needs


@dataclass(frozen=True, slots=True)
class Resolved:
    """Which commit is meant, and everything that follows from it."""

    ref: str  # full commit id, or the version of a record
    spec: str  # BinderHub's resolved_spec: the same link, pinned
    ref_url: str  # where a person can look at this commit
    repo_url: str  # what repo2docker is given; without credentials
    slug: str  # build slug, from which the image's name is made
    notice: str = ""  # shown to the user, such as master having become HEAD
    branch: str = ""  # the ref that was asked for, for servers that refuse a fetch by commit id


class Provider(Protocol):
    """One forge. One file, one line in the table, one test file."""

    prefix: str
    display: dict[str, Any]  # the entry of /api/repoproviders

    def parse(self, raw: str) -> Spec:
        """Read a spec (as in the address, still quoted); raises `BadSpec` or `ForbiddenAddress`. Makes no request."""
        ...

    def pinned(self, spec: Spec) -> Resolved | None:
        """The resolution of a spec whose ref is a full commit id, without a request; otherwise None."""
        ...

    async def resolve(self, spec: Spec) -> Resolved:
        """Find the commit. Raises `Unresolved`, `Forbidden`, `Unreachable` or `RateLimited`, each a clear sentence."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
