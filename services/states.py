"""The states of launches, builds and servers, and which move may follow which.

Pure data: the lifecycle package writes states, everybody else only reads them. The tables here are the
single source of the diagram in ARCHITECTURE.md and of the guards in every UPDATE.
"""

from enum import StrEnum


class LaunchState(StrEnum):
    """Where a launch stands."""

    WAITING = "waiting"
    RESOLVING = "resolving"
    BUILDING = "building"
    LAUNCHING = "launching"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class LaunchTarget(StrEnum):
    """What a launch shall become; a request changes the target, one loop moves the state towards it."""

    READY = "ready"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


class BuildState(StrEnum):
    """Where a build stands."""

    QUEUED = "queued"
    FETCHING = "fetching"
    BUILDING = "building"
    PUSHING = "pushing"
    BUILT = "built"
    FAILED = "failed"
    CANCELLED = "cancelled"


class BuildTarget(StrEnum):
    """What a build shall become."""

    BUILT = "built"
    CANCELLED = "cancelled"  # taken back by whoever joins before `cancel_at`
    ENDING = "ending"  # cancelled for good; its run is being stopped


class ServerState(StrEnum):
    """Where a server stands."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class StopReason(StrEnum):
    """Why a server was stopped."""

    IDLE = "idle"
    MAX_AGE = "max-age"
    USER = "user"
    LOST = "lost"
    UNOPENED = "unopened"
    ABANDONED = "abandoned"


_L = LaunchState
LAUNCH_OPEN: frozenset[LaunchState] = frozenset({_L.WAITING, _L.RESOLVING, _L.BUILDING, _L.LAUNCHING})
LAUNCH_LIVE: frozenset[LaunchState] = LAUNCH_OPEN | {_L.READY, _L.STOPPING}
LAUNCH_ENDED: frozenset[LaunchState] = frozenset({_L.STOPPED, _L.DONE, _L.FAILED, _L.CANCELLED})

# From which states each state may be reached.
LAUNCH_FROM: dict[LaunchState, frozenset[LaunchState]] = {
    _L.WAITING: frozenset(),
    _L.RESOLVING: frozenset({_L.WAITING}),
    _L.BUILDING: frozenset({_L.RESOLVING, _L.LAUNCHING}),
    _L.LAUNCHING: frozenset({_L.RESOLVING, _L.BUILDING}),
    _L.READY: frozenset({_L.LAUNCHING}),
    _L.STOPPING: frozenset({_L.READY}),
    _L.STOPPED: frozenset({_L.STOPPING}),
    _L.DONE: frozenset({_L.RESOLVING, _L.BUILDING}),
    _L.FAILED: LAUNCH_OPEN,
    _L.CANCELLED: LAUNCH_OPEN,
}

_B = BuildState
BUILD_OPEN: frozenset[BuildState] = frozenset({_B.QUEUED, _B.FETCHING, _B.BUILDING, _B.PUSHING})
BUILD_ENDED: frozenset[BuildState] = frozenset({_B.BUILT, _B.FAILED, _B.CANCELLED})

BUILD_FROM: dict[BuildState, frozenset[BuildState]] = {
    _B.QUEUED: BUILD_OPEN,  # a deliberate retry starts again
    _B.FETCHING: frozenset({_B.QUEUED}),
    _B.BUILDING: frozenset({_B.QUEUED, _B.FETCHING}),
    _B.PUSHING: frozenset({_B.QUEUED, _B.FETCHING, _B.BUILDING}),
    _B.BUILT: BUILD_OPEN,
    _B.FAILED: BUILD_OPEN,
    _B.CANCELLED: BUILD_OPEN,
}
