"""Containers: what one is made from, and what the engine says of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Order:
    """What a container is made from."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[tuple[str, str, bool], ...] = ()  # volume or path, where it appears, whether it is read-only
    tmpfs: Mapping[str, str] = field(default_factory=dict)  # where it appears, its options
    network: str = ""  # "": the engine's default; "none"
    memory: int = 0  # bytes, swap included; 0: no limit
    cpus: float = 0.0
    processes: int = 0
    log_bytes: int = 0  # what the engine keeps of the output, twice
    security: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()  # all others are dropped
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine has it."""

    id: str
    name: str
    status: str  # created, running, exited, dead …
    started: datetime | None
    code: int
    out_of_memory: bool
    labels: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether it has run and does not any more."""
        return self.status in ("exited", "dead", "removing")


def container_of(found: dict[str, Any]) -> Container:
    """A container from the engine's model of one."""
    state = found["State"]
    return Container(
        found["Id"], found["Name"].removeprefix("/"), state["Status"], _time(state.get("StartedAt", "")), int(state.get("ExitCode", 0)),
        bool(state.get("OOMKilled")), found["Config"].get("Labels") or {})


def _time(text: str) -> datetime | None:
    """The engine's time; the year 1 means never."""
    if not text or text.startswith("0001"):
        return None
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
