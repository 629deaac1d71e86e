"""What an event can be about. Our own words; BinderHub's phases are made of them in one module of the api."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The kinds of events of a launch."""

    WAITING = "waiting"  # accepted
    RESOLVING = "resolving"  # a worker looks the ref up
    NOTICE = "notice"  # something the user should know
    BUILDING = "building"  # joined a build; data: build
    FOUND = "found"  # the image exists already; data: image
    BUILT = "built"  # the build it waited for has made the image; data: image, log_end
    LAUNCHING = "launching"  # the hub is being asked
    PROGRESS = "progress"  # what the hub says
    RETRYING = "retrying"  # an attempt failed, another follows
    READY = "ready"  # data: everything that a client needs to open the server
    DONE = "done"  # build_only: the image is there
    FAILED = "failed"  # data: reason; log_end where a build was waited for
    CANCELLED = "cancelled"
    ENDING = "ending"  # its server will be stopped unless somebody uses it; data: ends_at (seconds since 1970), why, message
    STOPPING = "stopping"
    STOPPED = "stopped"


ENDS_STREAM: frozenset[Kind] = frozenset({Kind.READY, Kind.DONE, Kind.FAILED, Kind.CANCELLED, Kind.STOPPED})
ENDS_SERVER: frozenset[Kind] = ENDS_STREAM - {Kind.READY}  # for whoever goes on to follow the server


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is about to be written."""

    kind: Kind
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was written: `seq` counts from 1 within the launch."""

    launch: str
    seq: int
    at: float  # seconds since the epoch
    kind: str
    state: str
    data: Mapping[str, Any]


def build_end(build: str, at: float, state: str, lines: int, reason: Mapping[str, Any] | None) -> StoredEvent:
    """How a build ended, as the one event of its own stream; its lines come before. It is made of the row and stored nowhere else."""
    return StoredEvent(build, 1, at, state, state, {"log_end": lines, "reason": reason})
