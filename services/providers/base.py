"""What a provider is: it reads the part of a link after its prefix, and finds out which commit is meant.

BinderHub's grammar of specs is a contract (badges in millions of READMEs); where it is quirky the provider
keeps reading what exists and does the right thing. A provider holds no state but its cache and is shared by
all requests of a process.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from urllib.parse import SplitResult, quote

from services.records import File


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed link: what was asked for, before any request was made."""

    provider: str  # prefix, such as "gh"
    raw: str  # as in the address, still quoted, without a trailing slash
    repo: str  # the human name: "norvig/pytudes", a URL without credentials, a DOI
    ref: str  # branch, tag, commit or "HEAD"; never begins with "-"; "" where a provider has no refs
    pinned: bool = False  # the ref is already a full commit id: resolving needs no request
    extra: dict[str, str] = field(default_factory=dict)  # what only this provider needs


@dataclass(frozen=True, slots=True)
class Resolved:
    """Which commit is meant, and everything that follows from it."""

    ref: str  # full commit id in lower case, or the version of a record
    spec: str  # BinderHub's resolved_spec: the same link, pinned
    ref_url: str  # where a person can look at this commit
    repo_url: str  # what repo2docker is given; without credentials
    slug: str  # build slug, from which the image's name is made
    notice: str = ""  # shown to the user, such as master having become HEAD; no line end
    branch: str = ""  # what to fetch from servers that refuse a commit id: a ref, often by its full name; "" unknown


@dataclass(frozen=True, slots=True)
class Link:
    """What somebody has pasted, read: enough to fill the form of the home page or to start a launch."""

    provider: str
    repo: str  # as Spec.repo
    ref: str  # "HEAD" unless the link names one; "" where a provider has no refs
    spec: str  # what follows /v2/<provider>/, escaped
    file: str = ""  # path of a file in the repository, to be opened as a document
    directory: str = ""  # path of a directory in the repository, to be shown in the file browser
    urlpath: str = ""  # path in the server, where the link itself gives one
    note: str = ""  # a sentence for the user, where the link could be read in two ways
    subdir: str = ""  # as `layout.Layout`, where the link is one of a Binder and says so; not checked yet
    environment: str = ""

    @property
    def opens(self) -> str:
        """The path in the server that the link asks for, without a slash at its begin; "" where it names none."""
        if self.urlpath:
            return self.urlpath.lstrip("/")
        if self.file:
            return f"doc/tree/{quote(self.file)}"
        return f"lab/tree/{quote(self.directory)}" if self.directory else ""


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
        """Find the commit.

        Raises `Unresolved`, `Forbidden`, `Unreachable`, `RateLimited` or `ForbiddenAddress`, each a clear
        sentence.
        """
        ...

    def recognise(self, url: SplitResult) -> Link | None:
        """Read an address of this forge as a browser shows it; None for anybody else's. Makes no request.

        The address is http, https, git or ssh, or an identifier that is one (`swh:…`), and carries no credentials.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


@runtime_checkable
class Records(Protocol):
    """A provider whose links lead to published files instead of a git repository."""

    async def files(self, repo_url: str, ref: str) -> list[File]:
        """The files of a record, as `Resolved.repo_url` and `Resolved.ref` name it; raises as `Provider.resolve`."""
        ...
