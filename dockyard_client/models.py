"""What the HTTP API answers, as frozen dataclasses.

These classes are the shapes of Dockyard's REST API: a field here is a key in the JSON of the same name. A key
that this version does not know is ignored, so an older client works with a newer server; a key that is
missing takes its default. Times are aware datetimes (ISO 8601 in the JSON), durations are seconds, ids are
opaque text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode, urlsplit

T = TypeVar("T")

# A launch in one of these states makes no further progress by itself: its event stream has ended.
SETTLED = frozenset({"ready", "done", "failed", "cancelled", "stopped"})
BUILD_ENDED = frozenset({"built", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something failed, was cancelled or stopped."""

    code: str  # stable, for programs: "build_failed", "unresolved", "idle", …
    message: str = ""  # a sentence for the user
    hint: str = ""  # what can be done about it


@dataclass(frozen=True, slots=True)
class Launch:
    """One request for a running server (or, with `build_only`, for an image)."""

    id: str
    state: str  # waiting resolving building launching ready stopping stopped done failed cancelled
    target: str  # what it shall become: ready stopped cancelled
    provider: str  # prefix, such as "gh"
    spec: str  # what follows the prefix in the link, still quoted
    created_at: datetime
    repo: str = ""  # the repository's name for people
    ref: str = ""  # branch, tag or commit that was asked for
    resolved_ref: str | None = None  # the commit it stands for, once known
    ref_url: str | None = None  # where a person can look at this commit
    repo_url: str | None = None  # without credentials
    image: str | None = None
    build: str | None = None  # id of the build it waits or waited for
    build_state: str | None = None
    url: str | None = None  # of the server, ends with "/"; only while ready
    token: str | None = field(default=None, repr=False)  # opens the server; only for the holder of the launch
    urlpath: str = ""  # what to open in the server
    subdir: str = ""  # directory of the repository that is built
    environment: str = ""  # provider/spec of the repository that the environment is made of, where it is another
    environment_ref: str | None = None  # its commit, once known
    reason: Reason | None = None
    position: int | None = None  # in the queue, from 1
    waits: str | None = None  # what it waits for that is away or has no room, in words
    estimate_seconds: float | None = None  # until ready, as far as known
    estimate_low: float | None = None  # a quarter of those before took less
    estimate_high: float | None = None  # a quarter of those before took more
    timings: Mapping[str, float] = field(default_factory=dict)  # state -> seconds spent in it
    steps: Mapping[str, float] = field(default_factory=dict)  # resolve, build, push, launch -> seconds; what was not needed is not there
    ends_at: datetime | None = None  # when its server will be stopped unless somebody uses it
    ends_why: str | None = None  # idle, max-age or unopened
    ends_soon: bool = False  # whether this end is near and has been told, as the event `ending`
    attempt: int = 1
    build_only: bool = False

    @property
    def settled(self) -> bool:
        """Whether nothing more happens unless somebody asks for it."""
        return self.state in SETTLED

    @property
    def location(self) -> str | None:
        """The address to open in a browser: server, path and token together; None unless it is ready."""
        if self.url is None:
            return None
        # Joined as text: a path that looks like another address must not carry the token there.
        address = urlsplit(self.url + self.urlpath.lstrip("/"))
        if not self.token:
            return address.geturl()
        token = urlencode({"token": self.token})
        return address._replace(query=f"{address.query}&{token}" if address.query else token).geturl()


@dataclass(frozen=True, slots=True)
class Build:
    """The making of one image."""

    id: str
    state: str  # queued fetching building pushing built failed cancelled
    image: str
    repo_url: str
    ref: str  # the commit
    created_at: datetime
    attempt: int = 1
    generation: int = 1  # rises when the same image is deliberately built again
    environment: str | None = None  # key of the environment, where the runtime shares environments
    lines: int = 0  # of the log, so far
    timings: Mapping[str, float] = field(default_factory=dict)  # state -> seconds spent in it
    reason: Reason | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def settled(self) -> bool:
        """Whether it has ended."""
        return self.state in BUILD_ENDED


@dataclass(frozen=True, slots=True)
class Server:
    """A user server that runs."""

    id: str
    state: str  # starting running stopping stopped
    image: str
    launch: str | None = None  # None while it is kept warm
    user: str | None = None  # name in the hub
    started_at: datetime | None = None
    last_activity: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """How much there is of everything at this moment."""

    launches: Mapping[str, int] = field(default_factory=dict)  # state -> how many, of those not ended
    builds: Mapping[str, int] = field(default_factory=dict)
    servers: Mapping[str, int] = field(default_factory=dict)
    oldest_waiting: float | None = None  # seconds that the oldest launch has waited for its first step
    version: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, newest first; `next` is the cursor of the part after it, None at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream: a step, or a line of the log."""

    id: str  # "<launch>.<event>.<line>": where to resume; "" from a server that does not resume (BinderHub)
    phase: str  # waiting fetching building pushing built launching ready failed unknown
    message: str  # may be a part of a line; carries its own line end
    state: str | None = None  # of the launch or build, on events that changed it
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)  # all keys; may hold a token
