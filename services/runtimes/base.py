"""What a runtime is: where builds and servers run.

A runtime offers four small protocols. `Builder` makes an image out of a commit, `ImageStore` says which images exist,
`Spawning` lists the servers that really run, `Reality` lists whatever there is of builds and servers. The worker, the launcher
and the reaper know nothing else of it, so a new runtime is one module and one line in the table of `services.runtimes`.

A build is followed by line number and every verb may be called again: whoever takes a build over calls `start` (which
adopts what already runs) and `follow` from the last line it has stored.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from services.records import File
from services.states import BuildState


@dataclass(frozen=True, slots=True)
class Source:
    """A repository at a commit, beside the one that is built: what the environment is made of."""

    provider: str  # prefix of the provider, such as "gh"
    repo_url: str  # without credentials
    commit: str
    ref: str = ""  # as in `BuildJob`
    files: tuple[File, ...] = ()  # as in `BuildJob`


@dataclass(frozen=True, slots=True)
class BuildJob:
    """One attempt to build one image; the handle is made from id and attempt, so that it can be found again."""

    id: str  # 32 hex digits
    attempt: int  # 1, 2, …
    image: str  # "{prefix}{slug}:{ref}"
    provider: str  # prefix of the provider, such as "gh"
    repo_url: str  # what is fetched; without credentials
    commit: str  # resolved ref; for git always the full commit id
    ref: str = ""  # the branch or tag that was asked for, when the server refuses a fetch by commit id
    no_cache: bool = False  # rebuild: make the environment anew even where one exists
    subdir: str = ""  # of the repository: what is built; "" for all of it
    environment: Source | None = None  # the repository whose tree the content is laid over; None: the content's own
    files: tuple[File, ...] = ()  # of a published record, instead of git's; () for git
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Provider and address of everything that is fetched."""
        apart = self.environment
        return [(self.provider, self.repo_url), *([(apart.provider, apart.repo_url)] if apart else [])]

    @property
    def handle(self) -> str:
        """The name of the process, container or pod: lower case, 63 characters at most, safe in a path and in DNS."""
        return f"build-{self.id}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line (or part of one) of a build's log; `message` keeps its own line end."""

    phase: str  # a wire word: fetching, building, pushing, unknown
    message: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of the log; `first` is the source's number of the first one, counted from 1 over all steps of the
    attempt.
    """

    first: int
    lines: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """The build has reached this state."""

    state: BuildState


@dataclass(frozen=True, slots=True)
class Plan:
    """The build knows which environment it needs and waits for `proceed`."""

    environment: str  # content-addressed key
    why: str  # a sentence for the log: what the key was made of, or why it cannot be shared


@dataclass(frozen=True, slots=True)
class Exit:
    """The build has ended. Always the last item."""

    ok: bool
    reason: str = ""  # a sentence for the user when not ok
    hint: str = ""  # what the user or maintainer can do
    retryable: bool = False  # the runtime's fault, not the repository's: a new attempt may succeed
    facts: Mapping[str, str] = field(default_factory=dict)  # such as {"environment": key, "reused": "yes"}
    wait: float = 0.0  # seconds until a new attempt may succeed, where that is not soon


BuildItem = Lines | Phase | Plan | Exit


class Presence(StrEnum):
    """Whether an image exists. Unknown is not absent: it never starts a build."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Builder(Protocol):
    """Makes images. All verbs are idempotent."""

    async def prepare(self) -> None:
        """Do in advance what would make the first build slow, and clean up after killed processes.

        Called once when a worker starts; nothing waits for it, and nothing fails with it.
        """

    async def start(self, job: BuildJob) -> None:
        """Start the attempt, or find it running, ended or waiting for `proceed`."""

    def follow(self, job: BuildJob, line: int) -> AsyncIterator[BuildItem]:
        """Yield what happens, with the log from source line `line` (the first is 1), until `Exit`.

        After a take-over earlier `Phase` and `Plan` items may come again.
        """

    async def proceed(self, job: BuildJob, environment_exists: bool) -> None:
        """Answer a `Plan`: go on, making the environment unless it exists by now."""

    async def stop(self, job: BuildJob) -> None:
        """End the attempt and everything it started; returns when nothing of it runs any more."""

    async def running(self) -> list[str]:
        """The handles of all attempts that really run."""

    async def remove(self, handle: str) -> None:
        """Stop and forget an attempt that no row knows, or whose log has been stored."""


class ImageStore(Protocol):
    """Where images are kept."""

    async def exists(self, image: str) -> Presence:
        """Whether a server could be started from this image."""

    async def environment_exists(self, key: str) -> bool:
        """Whether this environment is complete."""

    async def remove(self, image: str) -> None:
        """Forget an image; removing an absent one is no error."""

    async def remove_environment(self, key: str) -> None:
        """Delete an environment that no image needs any more from where `remove` deletes images, where that is not left to `collect`."""

    async def usage(self) -> int:
        """Bytes in use; 0 where nobody can tell."""

    async def kept(self) -> Mapping[str, float] | None:
        """The images that take room on this machine or engine, and when each was last used (seconds since 1970; 0: unknown).

        None where images are in a registry alone, whose room is not ours to free.
        """

    async def free(self, image: str) -> None:
        """Give the room of an image back that `kept` has named. In use by anything, it stays. Where a registry has it as well,
        it can be had again from there, otherwise it is gone.
        """

    async def collect(self, *, caches: bool) -> None:
        """Remove what no image needs any more, environments and layers; with `caches`, everything that can be fetched again too."""


class Spawning(Protocol):
    """Where user servers run, as the runtime sees it (the hub has its own opinion)."""

    async def running(self) -> list[str]:
        """The names of the user servers that really run: the hub's user names."""

    async def remove(self, name: str) -> None:
        """End a server that the hub no longer knows."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something of ours that really is there: a process, a directory, a container, a volume, a network, a pod."""

    kind: str  # build, server, or what it is else
    name: str  # where it is: unique within its kind
    owner: str = ""  # the handle of an attempt or the hub's user name that it is for; "": nobody's, it should not be there
    since: float = 0.0  # when it came to be, in seconds since 1970
    certain: bool = True  # whether it is ours even where no row says so


class Reality(Protocol):
    """What there is of builds and servers, whatever any row, hub or worker believes; for the reaper, which compares."""

    async def things(self) -> list[Thing]:
        """Everything that somebody of ours has made and that somebody has to remove."""

    async def clear(self, thing: Thing) -> None:
        """End and remove one; an absent one is no error."""


class Runtime(Protocol):
    """One way to build images and run servers."""

    name: str
    builder: Builder
    images: ImageStore
    spawning: Spawning
    reality: Reality
