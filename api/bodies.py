"""What the REST API takes and answers.

The client's dataclasses (`dockyard_client.models`) have the same fields; both are checked against each
other by a test. Times are ISO 8601 with an offset, durations are seconds. Fields are only ever added.
"""

import json
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")

PLAIN = r"^[^\x00-\x1f\x7f]*$"  # text without control characters; PostgreSQL stores no NUL

_ID = "9f86d081884c7d659a2feaa0c55ad015"
_COMMIT = "6ef7a6ad06a3a5c9d9a2d1b2e1a1c6a0d7a6f0b1"


class Body(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Reason(Body):
    """Why something failed, was cancelled or stopped."""

    code: str = Field(description="Stable, for programs.", examples=["build_failed", "unresolved", "idle"])
    message: str = Field(default="", description="A sentence for the user.")
    hint: str = Field(default="", description="What can be done about it.")


class Wanted(BaseModel):
    """Base of what requests bring. JSON can hold halves of characters, which no database and no program takes."""

    @model_validator(mode="before")
    @classmethod
    def _whole_characters(cls, values: Any) -> Any:
        try:
            json.dumps(values, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise ValueError("There are characters in it that are not Unicode") from None
        return values


class NewLaunch(Wanted):
    """What to launch: a link as one would paste it, or provider and spec as in a BinderHub address."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, json_schema_extra={
        "examples": [
            {"link": "https://github.com/norvig/pytudes"},
            {"provider": "gh", "spec": "norvig/pytudes/HEAD", "urlpath": "doc/tree/ipynb/Advent2020.ipynb"},
        ],
        "oneOf": [
            {"required": ["link"], "properties": {"link": {"type": "string"}}},
            {"required": ["provider", "spec"], "properties": {"provider": {"type": "string"}, "spec": {"type": "string"}}},
        ],
    })

    link: str | None = Field(default=None, min_length=1, max_length=4000, description="Any link that the home page takes.")
    provider: str | None = Field(default=None, min_length=1, max_length=40, description="Prefix of the provider, such as gh.")
    spec: str | None = Field(
        default=None, min_length=1, max_length=4000, pattern=PLAIN, description="What follows the prefix, still quoted.",
    )
    subdir: str = Field(
        default="", max_length=500, pattern=PLAIN, description="Directory of the repository that is built instead of all of it.",
    )
    environment: str = Field(
        default="", max_length=4000, pattern=PLAIN, examples=["gh/binder-examples/requirements/HEAD"],
        description="Another repository that the environment is made of, as provider/spec or as a link; this one is the content.",
    )
    build_token: str = Field(default="", max_length=4000, description="Of the launch page of this provider and spec, as in `/build`.")
    build_only: bool = Field(default=False, description="End with the image; start no server.")
    rebuild: bool = Field(default=False, description="Build even if the image exists, without any cache.")
    urlpath: Annotated[str, Field(max_length=4000, pattern=PLAIN)] = Field(default="", description="What to open in the server.")
    env: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")], Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")]
    ] = Field(default_factory=dict, max_length=32, description="Environment of the server; only names that are allowed here.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "NewLaunch":
        if (self.link is None) == (self.provider is None or self.spec is None):
            raise ValueError("Give either link, or provider and spec")
        return self


class Launch(Body):
    """One request for a running server (or, with `build_only`, for an image)."""

    id: str = Field(examples=[_ID])
    state: str = Field(
        description="waiting, resolving, building, launching, ready, stopping, stopped, done, failed or cancelled.",
        examples=["building"],
    )
    target: str = Field("ready", description="What it shall become: ready, stopped or cancelled.")
    provider: str = Field(examples=["gh"])
    spec: str = Field(examples=["norvig/pytudes/HEAD"])
    repo: str = Field(default="", description="The repository's name for people.", examples=["norvig/pytudes"])
    created_at: datetime
    ref: str = Field(default="", description="The branch, tag or commit that was asked for.", examples=["HEAD"])
    resolved_ref: str | None = Field(default=None, description="The commit it stands for, once known.", examples=[_COMMIT])
    ref_url: str | None = Field(default=None, description="Where a person can look at this commit.")
    repo_url: str | None = Field(default=None, description="What is fetched; without credentials.")
    subdir: str = Field(default="", description="Directory of the repository that is built.")
    environment: str = Field(default="", description="provider/spec of the repository that the environment is of, where it is another.")
    environment_ref: str | None = Field(default=None, description="That repository's commit, once known.", examples=[_COMMIT])
    image: str | None = None
    build: str | None = Field(default=None, description="Id of the build it waits or waited for.")
    build_state: str | None = Field(default=None, description="Where that build stands.")
    url: str | None = Field(default=None, description="Address of the server while it is ready; ends with a slash.")
    token: str | None = Field(default=None, description="Opens the server; shown to the holder of this launch's id only.")
    urlpath: str = Field(default="", description="What to open in the server.")
    reason: Reason | None = None
    position: int | None = Field(default=None, description="In the queue, from 1.")
    waits: str | None = Field(default=None, description="What it waits for that is away or has no room, in words, while that is so.")
    estimate_seconds: float | None = Field(default=None, description="Until it is ready, as far as known.")
    estimate_low: float | None = Field(default=None, description="A quarter of those before took less.")
    estimate_high: float | None = Field(default=None, description="A quarter of those before took more.")
    timings: dict[str, float] = Field(
        default_factory=dict, description="Seconds spent in each state, the present one included.",
        examples=[{"waiting": 0.01, "resolving": 0.4, "building": 21.5}],
    )
    steps: dict[str, float] = Field(
        default_factory=dict, examples=[{"resolve": 0.41, "build": 19.2, "push": 2.3, "launch": 1.9}],
        description="Seconds of each step, the present one included: resolve, build, push, launch. What was not needed is left out.",
    )
    ends_at: datetime | None = Field(default=None, description="When its ready server will be stopped unless somebody uses it.")
    ends_why: str | None = Field(default=None, description="idle, max-age or unopened.")
    ends_soon: bool = Field(default=False, description="Whether this end has been told, as the event `ending`, because it is near.")
    attempt: int = 1
    build_only: bool = False


class Build(Body):
    """The making of one image."""

    id: str = Field(examples=[_ID])
    state: str = Field(description="queued, fetching, building, pushing, built, failed or cancelled.")
    image: str
    repo_url: str
    ref: str = Field(description="The commit.", examples=[_COMMIT])
    created_at: datetime
    attempt: int = 1
    generation: int = Field(default=1, description="Rises when the same image is deliberately built again.")
    environment: str | None = Field(default=None, description="Key of the environment, where environments are shared.")
    lines: int = Field(default=0, description="Lines of the log so far.")
    timings: dict[str, float] = Field(
        default_factory=dict, description="Seconds spent in each state, the present one included.",
        examples=[{"queued": 0.1, "fetching": 1.2, "building": 18.0, "pushing": 2.3}],
    )
    reason: Reason | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Server(Body):
    """A user server that runs."""

    id: str
    state: str = Field(description="starting, running, stopping or stopped.")
    image: str
    launch: str | None = Field(default=None, description="The launch it belongs to; none while it is kept warm.")
    user: str | None = Field(default=None, description="Its name in the hub.")
    started_at: datetime | None = None
    last_activity: datetime | None = None


class Stats(Body):
    """How much there is of everything at this moment."""

    launches: dict[str, int] = Field(default_factory=dict, description="State to number, of those not ended.")
    builds: dict[str, int] = Field(default_factory=dict)
    servers: dict[str, int] = Field(default_factory=dict)
    oldest_waiting: float | None = Field(default=None, description="Seconds that the oldest launch has waited.")
    version: str = ""


class Page(Body, Generic[T]):
    """A part of a list, newest first."""

    items: list[T]
    next: str | None = Field(default=None, description="Cursor of the next part; none at the end.")


class Badges(Body):
    """A badge that launches a link, in three notations."""

    markdown: str
    rst: str
    html: str


class Link(Body):
    """What a link means."""

    provider: str = Field(examples=["gh"])
    repo: str = Field(description="As one would type it.", examples=["norvig/pytudes"])
    ref: str = Field(default="", examples=["main"])
    path: str = Field(
        default="", examples=["ipynb/Advent2020.ipynb"],
        description="What opens: a file, a directory (with a slash at its end), or (with one at its begin) a path in the server.",
    )
    note: str = Field(default="", description="A sentence for the user, where the link could be read in two ways.")
    spec: str = Field(description="For POST /api/v1/launches.", examples=["norvig/pytudes/main"])
    urlpath: str = Field(default="", description="For POST /api/v1/launches.")
    subdir: str = Field(default="", description="For POST /api/v1/launches, as the next.")
    environment: str = ""
    launch: str = Field(description="The launch page, from the root of this server.")
    page: str = Field(description="The launch page's whole address, to share.")
    badges: Badges


class Problem(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="A sentence for the user.")
    code: str = Field(description="Stable, for programs.", examples=["bad_spec"])
    retry_after: int | None = Field(default=None, description="Seconds after which trying again makes sense.")
    limit: str | None = Field(default=None, description="The limit that was hit, as its setting is named.", examples=["open_per_client"])
