"""Runs a table of parts as children of one tree: in order, again after a crash, and not at all after the end.

The table says what each part is and what it stands on (`Part`); this file knows none of them by name. A part starts when
everything that it stands on is ready, so independent parts start at the same time. A part that ends by itself is started
again after 0.5 s, twice as long each time up to 30 s, from the beginning after a minute of health. A part that never
comes up in `TRIES` attempts ends the whole with its last words; one that was up is tried for ever, since a disk that is full
may have room again. At the end the parts stop in the opposite order, at once where they do not stand on each other; a
second signal kills what is left.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cli.embedded import leftovers
from cli.embedded.child import Child, Command, Log, describe
from cli.embedded.forge import Forge
from services.errors import DockyardError, Misconfigured

TRIES = 4
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a new start
HEALTHY = 60.0  # seconds of running after which the pause begins from the first again
PROBE = 0.03  # seconds between looks at a part that starts


async def _at_once() -> bool:
    return True


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the whole."""

    name: str
    command: Callable[[], Command]  # made anew for each start
    after: tuple[str, ...] = ()  # the parts it stands on: it starts after them and ends before them
    outlives: tuple[str, ...] = ()  # further parts that it ends after
    prepare: Callable[[], Awaitable[None]] = _nothing  # before the first start
    ready: Callable[[], Awaitable[bool]] = _at_once  # asked until true, after each start
    says: str = ""  # and until it has written this somewhere in a line
    settle: Callable[[], Awaitable[None]] = _nothing  # after the first time it is ready
    ended: Callable[[], Awaitable[None]] = _nothing  # after it was stopped at the end
    patience: float = 60.0  # seconds to become ready; then it counts as crashed
    once: bool = False  # does its work and ends, such as the migrations: ready means exit status 0


class Supervisor:
    """Keeps the parts of one table running."""

    def __init__(
        self, parts: Sequence[Part], logs: Path, pids: Path, say: Callable[[str, str], None],
        hear: Callable[[str, str], None] = lambda name, line: None, forge: Forge | None = None,
    ) -> None:
        self.parts = {part.name: part for part in parts}
        self.logs, self.pids, self.say, self.hear, self.forge = logs, pids, say, hear, forge
        self.children: dict[str, Child] = {}
        self._up = {part.name: asyncio.Event() for part in parts}
        self._down = {part.name: asyncio.Event() for part in parts}
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: DockyardError | None = None

    def stop(self) -> None:
        """Begin to stop; the second time, kill. Safe in a signal handler of the loop."""
        (self._hurry if self._stopping.is_set() else self._stopping).set()

    async def run(self, when_up: Callable[[], Awaitable[None]] = _nothing) -> None:
        """Start everything, call `when_up`, and return when all has stopped; raises what made a start impossible."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        tasks = [asyncio.create_task(self._live(part)) for part in self.parts.values()]
        greeting = asyncio.create_task(self._greet(when_up))
        hurrying = asyncio.create_task(self._kill_when_hurried())
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (greeting, hurrying):
                task.cancel()
        if self._failure is not None:
            raise self._failure

    async def _greet(self, when_up: Callable[[], Awaitable[None]]) -> None:
        for event in self._up.values():
            await event.wait()
        try:
            await when_up()
        except DockyardError as error:
            self._fail(error)

    async def _kill_when_hurried(self) -> None:
        await self._hurry.wait()
        for child in self.children.values():
            child.kill()

    def _fail(self, error: DockyardError) -> None:
        if self._failure is None and not self._stopping.is_set():
            self._failure = error
        self._stopping.set()

    async def _live(self, part: Part) -> None:
        """The life of one part, from waiting for what it stands on to the end of what stands on it."""
        log = Log(self.logs / f"{part.name}.log")
        try:
            if await self._unless_stopping(self._begin(part)):
                await self._keep(part, log)
        except DockyardError as error:
            self._fail(error)
        except OSError as error:
            self._fail(Misconfigured(f"{part.name} cannot be started: {error.strerror or error}."))
        finally:
            await self._end(part)
            log.close()
            self._down[part.name].set()

    async def _begin(self, part: Part) -> bool:
        for name in part.after:
            if name in self._up:
                await self._up[name].wait()
        await part.prepare()
        return True

    async def _unless_stopping(self, work: Awaitable[bool]) -> bool:
        """Its result, or false as soon as everything stops."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if task.done():
            return task.result() and not self._stopping.is_set()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False

    async def _keep(self, part: Part, log: Log) -> None:
        """Start the part again and again."""
        pause, failures, shown = FIRST_PAUSE, 0, ""
        while not self._stopping.is_set():
            began = time.monotonic()
            child = Child(part.command(), log, partial(self._hear, part.name), expected=part.says, forge=self.forge)
            self.children[part.name] = child
            try:
                if not await self._unless_stopping(self._started(child)):
                    return
            except OSError as error:  # such as no memory: it was up before and will be again
                if not self._up[part.name].is_set():
                    raise
                self.say(part.name, f"cannot be started: {error.strerror or error}; it is tried again in {pause:g} s")
                pause = await self._rest(pause)
                continue
            self._remember(part, child)
            was_ready = await self._unless_stopping(self._become_ready(part, child, began))
            if part.once and was_ready:
                return
            if not self._stopping.is_set() and was_ready:
                await self._unless_stopping(self._ended(child))
            if self._stopping.is_set():
                return
            if child.running:  # it runs and has not become ready in its time
                await child.stop()
            status = await child.wait()
            leftovers.forget(self.pids, part.name)
            failures = 0 if was_ready else failures + 1
            words = describe(status) if not was_ready or status else "ended by itself"
            if part.once or (failures >= TRIES and not self._up[part.name].is_set()):
                tail = "\n".join(f"    {line}" for line in child.tail)
                raise Misconfigured(f"{tail}\n{part.name} does not start: it {words}; its log is {log.path}.")
            if time.monotonic() - began > HEALTHY:
                pause = FIRST_PAUSE
            self.say(part.name, f"{words}; it is started again in {pause:g} s (log: {log.path})")
            last = list(child.tail)[-5:]
            if last and last[-1] != shown:
                shown = last[-1]
                for line in last:
                    self.say(part.name, f"  | {line}")
            pause = await self._rest(pause)

    async def _rest(self, pause: float) -> float:
        """Wait so many seconds, unless everything stops; how long the next time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)
        return min(2 * pause, LONGEST_PAUSE)

    def _remember(self, part: Part, child: Child) -> None:
        """Write the child down for an `up` after this one; on a full disk there is only the kernel to end it then."""
        try:
            leftovers.remember(self.pids, part.name, child.pid)
        except OSError as error:
            self.say(part.name, f"runs and cannot be written down: {error.strerror or error}")

    def _hear(self, name: str, line: str) -> None:
        if not self._stopping.is_set():  # their farewells stand in their logs
            self.hear(name, line)

    async def _started(self, child: Child) -> bool:
        await child.start()
        return True

    async def _ended(self, child: Child) -> bool:
        await child.wait()
        return True

    async def _become_ready(self, part: Part, child: Child, began: float) -> bool:
        if part.once:
            if await child.wait() != 0:
                return False
        else:
            while not (child.said and await part.ready()):
                if not child.running or time.monotonic() - began > part.patience:
                    return False
                await asyncio.sleep(PROBE)
            if not child.running:
                return False
        if not self._up[part.name].is_set():
            await part.settle()
            self._up[part.name].set()
            self.say(part.name, f"{'done' if part.once else 'ready'} ({time.monotonic() - began:.1f} s)")
        else:
            self.say(part.name, "ready again")
        return True

    async def _end(self, part: Part) -> None:
        """Stop the part after everything that stands on it has stopped."""
        await self._stopping.wait()
        for other in self.parts.values():
            if part.name in other.after or other.name in part.outlives:
                await self._down[other.name].wait()
        child = self.children.get(part.name)
        if child is not None:
            await child.stop()
            leftovers.forget(self.pids, part.name)
        await part.ended()
