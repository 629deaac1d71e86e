"""The doorbell: how a process with work to do is woken, and how it says that it is awake.

A row in Postgres is the work; the bell only saves the second until the next look at the table. While a process is
awake it listens on a Redis list and costs its callers a few microseconds. When it has had nothing to do for a while
it goes to sleep, and the next caller sends one Celery message instead; its task ends in milliseconds. Publishing
never blocks an event loop: the hint is sent by a background task, which also gathers all rings of one moment, and
Celery's synchronous publishing happens in a thread. """

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from services.queue.redis import Redis

log = structlog.get_logger()

BUILDS = "builds"
LAUNCHES = "launches"
HOUSEKEEPING = "housekeeping"

_SIGN = 10  # seconds that the sign "awake" holds without being renewed
_AWAKE_FOR = 1  # seconds that a process listens on after its last work
_HINTS = 64  # hints kept; one is enough to make a listener look


class Bell:
    """Rings for the queues of other processes. `send` publishes a Celery task by name and may block."""

    def __init__(self, redis: Redis, send: Callable[[str], None]) -> None:
        self._redis = redis
        self._send = send
        self._wanted: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def ring(self, queue: str) -> None:
        """Wake whoever works on `queue`; returns at once and never fails."""
        self._wanted.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ring())

    async def _ring(self) -> None:
        while self._wanted:
            wanted, self._wanted = sorted(self._wanted), set()
            commands: list[tuple[object, ...]] = []
            for queue in wanted:
                hints = self._redis.key("hint", queue)
                commands += [("LPUSH", hints, "1"), ("LTRIM", hints, 0, _HINTS - 1)]
                commands += [("EXISTS", self._redis.key("awake", queue))]
            answer = await self._redis.pipeline(*commands)
            if answer is None:
                return  # Everybody looks by himself once a second while Redis is away.
            asleep = [queue for n, queue in enumerate(wanted) if not answer[3 * n + 2]]
            for queue in asleep:
                try:
                    await asyncio.to_thread(self._send, queue)
                except Exception as error:  # noqa: BLE001 - kombu raises whatever its transport raises
                    log.warning("bell_not_sent", queue=queue, error=type(error).__name__)

    async def aclose(self) -> None:
        """Wait for the last ring."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


class Ear:
    """One loop's place at the bell: several loops of one process may listen to one queue."""

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self.rung = asyncio.Event()

    def nudge(self) -> None:
        """Make `wait` return."""
        self.rung.set()

    def busy(self) -> None:
        """There was work: the process stays awake, and callers need no Celery message."""
        self._listener.stay_awake()

    async def wait(self, seconds: float) -> None:
        """Wait for a ring, at most `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.rung.wait()
        self.rung.clear()


class Listener:
    """The other side of the bell, one per process and queue: awake it listens on Redis, asleep it waits for Celery's
    task.
    """

    def __init__(self, redis: Redis, queue: str) -> None:
        self._redis = redis
        self._hints, self._sign = redis.key("hint", queue), redis.key("awake", queue)
        self._ears: list[Ear] = []
        self._wakened = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._silent_at = 0.0

    def ear(self) -> Ear:
        """A place for one more loop."""
        ear = Ear(self)
        self._ears.append(ear)
        return ear

    def rung(self) -> None:
        """Called by Celery's task, from any thread."""
        self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        for ear in self._ears:
            ear.rung.set()
        self.stay_awake()

    def stay_awake(self) -> None:
        """Listen on Redis for the next moments."""
        self._silent_at = time.monotonic() + _AWAKE_FOR
        self._wakened.set()

    async def leave(self) -> None:
        """Take the sign down at the end; whoever else is awake puts it up again within a second."""
        await self._redis.pipeline(("DEL", self._sign))

    async def run(self) -> None:
        """Listen for ever."""
        while True:
            await self._wakened.wait()
            await self._awake()

    async def _awake(self) -> None:
        while time.monotonic() < self._silent_at:
            answer = await self._redis.pipeline(
                ("SET", self._sign, "1", "EX", _SIGN), ("BLPOP", self._hints, _AWAKE_FOR), ("DEL", self._hints))
            if answer is None:
                await asyncio.sleep(_AWAKE_FOR)  # Redis is away; the loops look by themselves.
            elif answer[1] is not None:
                self._ring()
        # Take the sign down, then look once more, since somebody may have seen it in between.
        self._wakened.clear()
        answer = await self._redis.pipeline(("DEL", self._sign), ("LPOP", self._hints))
        if answer is not None and answer[1] is not None:
            self._ring()
