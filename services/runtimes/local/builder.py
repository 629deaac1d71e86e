"""The `Builder` of the runtime `local`: attempts as directories, followed by reading their log.

Nothing here knows whether this process started what it follows. The number of a line is its place in the log file, so a build
followed a second time, by another process, gives the same lines under the same numbers.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from services.runtimes.base import BuildItem, BuildJob, Exit, Lines, LogLine, Phase, Plan
from services.runtimes.local import detached
from services.runtimes.local.attempt import Attempt, forget, sweep
from services.runtimes.local.bases import base, finished
from services.runtimes.local.workshop import Workshop
from services.states import BuildState

EVERY = 0.05  # seconds between looks
PIECE = 1 << 16  # bytes after which a line without an end is cut into two
BATCH = 500  # lines in one item
PHASES = frozenset({"fetching", "building", "pushing", "unknown"})


class LocalBuilder:
    """Builds repositories on this machine."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._unbegun: set[str] = set()
        self._answers: dict[str, bool] = {}

    async def prepare(self) -> None:
        """Clean up after killed processes, and make the environment that all others begin as, so that the first build need not.

        Nothing waits for it and nothing fails with it; where it cannot be made, the first build says why.
        """
        version, _ = await asyncio.to_thread(self._workshop.default_python)
        if not version:
            return
        await asyncio.to_thread(self._workshop.paths.make)
        await asyncio.to_thread(sweep, self._workshop)
        while True:
            made, log = await asyncio.to_thread(base, self._workshop, version)
            if made is not None:
                if log is not None:
                    await asyncio.to_thread(finished, log)
                return
            await asyncio.sleep(0.5)

    async def start(self, job: BuildJob) -> None:
        """Start the attempt, or find it running, ended or waiting for `proceed`. Raises `NotStarted` or `Misconfigured`."""
        try:
            await asyncio.to_thread(Attempt(self._workshop, job).begin)
        except OSError:  # the disk may be full for a moment: whoever follows tries again for a while, and says what is wrong
            self._unbegun.add(job.handle)

    async def follow(self, job: BuildJob, line: int) -> AsyncIterator[BuildItem]:
        """Yield what happens, with the log from source line `line`, until `Exit`."""
        attempt, told = Attempt(self._workshop, job), False
        attempt.begun = job.handle not in self._unbegun
        self._unbegun.discard(job.handle)
        log = Log(attempt.log, line)
        yield Phase(BuildState.FETCHING)
        while True:
            attempt.answer = self._answers.pop(job.handle, attempt.answer)
            found = await asyncio.to_thread(attempt.look)
            # Read after looking: what the runs wrote before they ended comes before what follows from it.
            while items := await asyncio.to_thread(log.read, end=isinstance(found, Exit)):
                yield items
            if isinstance(found, Exit):
                yield found
                return
            if isinstance(found, Plan) and not told:
                told = True
                yield Phase(BuildState.BUILDING)
                yield found
            else:
                await asyncio.sleep(EVERY)

    async def proceed(self, job: BuildJob, environment_exists: bool) -> None:
        """Go on after the plan, making the environment unless it exists."""
        try:
            await asyncio.to_thread(Attempt(self._workshop, job).proceed, exists=environment_exists)
        except OSError:  # as in `start`
            self._answers[job.handle] = environment_exists

    async def stop(self, job: BuildJob) -> None:
        """End the attempt; returns when nothing of it runs any more."""
        await asyncio.to_thread(Attempt(self._workshop, job).stop)

    async def running(self) -> list[str]:
        """The handles of all attempts of which something runs."""
        runs = await asyncio.to_thread(detached.runs, self._workshop.paths.builds)
        return sorted({run.relative_to(self._workshop.paths.builds).parts[0] for run in runs})

    async def remove(self, handle: str) -> None:
        """Stop an attempt and remove what is left of it."""
        await asyncio.to_thread(forget, self._workshop, handle)


class Log:
    """The log file of an attempt from a line on; lines are counted from 1 whatever is skipped."""

    def __init__(self, path: Path, first: int) -> None:
        self._path = path
        self._first = first
        self._offset = 0
        self._rest = b""
        self._number = 0
        self._phase = "fetching"

    def read(self, *, end: bool) -> Lines | None:
        """The next lines, None if there are none now; with `end` a last line without its end is one too. Blocking."""
        found: list[LogLine] = []
        while len(found) < BATCH:
            pieces = self._pieces(end=end)
            if not pieces:
                break
            for piece in pieces:
                self._number += 1
                line = self._line(piece)
                if self._number >= self._first:
                    found.append(line)
        return Lines(self._number - len(found) + 1, tuple(found)) if found else None

    def _pieces(self, *, end: bool) -> list[bytes]:
        """Whole lines of the next part of the file."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(1 << 18)
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, rest = (self._rest + data).split(b"\n")
        pieces = [line + b"\n" for line in lines]
        while len(rest) >= PIECE:
            pieces.append(rest[:PIECE])
            rest = rest[PIECE:]
        if end and rest and not data:
            pieces.append(rest)
            rest = b""
        self._rest = rest
        return [part for piece in pieces for part in _cut(piece)]

    def _line(self, piece: bytes) -> LogLine:
        """One line: a message of our own steps, or whatever else was written."""
        if piece.startswith(b'{"phase": '):
            try:
                value = json.loads(piece)
                phase, message = str(value["phase"]), str(value["message"])
            except (ValueError, KeyError, TypeError):
                pass
            else:
                self._phase = phase if phase in PHASES else "unknown"
                return LogLine(self._phase, message)
        text = piece.decode(errors="replace").replace("\r\n", "\n")
        return LogLine(self._phase, text.rsplit("\r", 1)[-1])


def _cut(piece: bytes) -> list[bytes]:
    return [piece[at : at + PIECE] for at in range(0, len(piece), PIECE)] if len(piece) > PIECE else [piece]
