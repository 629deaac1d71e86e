"""What a build may not pass: time, silence, output, disk, processes. Memory and CPU the kernel binds by itself.

The watcher runs beside the follower of the log and ends the build's container from outside. A limit is looked at every two
seconds, so a build lives at most some seconds past it.
"""

import asyncio
import time
from datetime import UTC, datetime

import structlog

from services.errors import DockyardError
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.order import disk
from services.settings import BuildSettings, DockerSettings

log = structlog.get_logger()
_EVERY = 2.0  # seconds between two looks
_FULL = 2  # looks in a row that find all processes in use


class Watch:
    """The limits of one running build. `reason` and `hint` are set once one is passed."""

    def __init__(self, engine: Engine, handle: str, docker: DockerSettings, builds: BuildSettings, started: datetime | None) -> None:
        self._engine, self._handle, self._docker, self._builds = engine, handle, docker, builds
        started = started or datetime.now(UTC)
        self._deadline = time.monotonic() + builds.timeout - (datetime.now(UTC) - started).total_seconds()
        self._heard = time.monotonic()
        self._bytes = 0
        self._full = 0
        self.reason = self.hint = ""

    def hear(self, size: int) -> None:
        """Some output has come."""
        self._heard = time.monotonic()
        self._bytes += size

    async def run(self) -> None:
        """Look until a limit is passed, then end the container."""
        while True:
            await asyncio.sleep(_EVERY)
            try:
                passed = await self._passed()
                if passed is not None:
                    log.warning("build_limited", handle=self._handle, reason=passed[0])
                    self.reason, self.hint = passed  # before the end that it explains
                    await self._engine.kill(self._handle, "KILL")
                    return
            except DockyardError as error:  # the engine is away; the follower finds out for itself
                self.reason = ""
                log.warning("build_unwatched", handle=self._handle, reason=error.sentence)

    async def _passed(self) -> tuple[str, str] | None:
        """The limit that is passed, as a reason and a hint."""
        docker, now = self._docker, time.monotonic()
        if now > self._deadline:
            return (f"The build was stopped after {self._builds.timeout:.0f} seconds, the most that one may take.",
                    "Install less, or ask for a longer time.")
        if docker.build_idle and now - self._heard > docker.build_idle:
            return (f"The build was stopped: it had said nothing for {docker.build_idle:.0f} seconds.",
                    "Let long steps say what they do.")
        if self._bytes > docker.build_log_bytes:
            return (f"The build was stopped: it printed more than {_size(docker.build_log_bytes)}.", "Let it print less.")
        if (used := await self._used()) > docker.build_bytes:
            return (f"The build was stopped: it took {_size(used)} of disk, and may have {_size(docker.build_bytes)}.",
                    "Install less, or keep large files elsewhere.")
        current, limit = await self._engine.processes(self._handle)
        self._full = self._full + 1 if limit and current >= limit else 0
        if self._full >= _FULL:
            return f"The build was stopped: it had {limit} processes, the most that one may have.", "Start fewer at a time."
        return None

    async def _used(self) -> int:
        words = (await self._engine.last_words(disk(self._handle))).split()
        return int(words[-1]) if words and words[-1].isdigit() else 0


def _size(number: int) -> str:
    return f"{number / (1 << 30):.1f} GB" if number >= 1 << 30 else f"{number / (1 << 20):.0f} MB"
