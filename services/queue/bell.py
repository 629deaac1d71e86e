"""The doorbell: how a process with work to do is woken, and how it says that it is awake.

A row in Postgres is the work; the bell only saves the second until the next look at the table. While a process is awake it listens
on a Redis list and costs its callers a few microseconds. When it has had nothing to do for a while it goes to sleep, and the next
caller sends one Celery message instead; its task ends in milliseconds. Publishing never blocks an event loop: the hint is sent by a background task, which also gathers all
rings of one moment, and Celery's synchronous publishing happens in a thread.
"""

import asyncio
import logging
from collections.abc import Callable

from services.queue.redis import Redis

log = logging.getLogger(__name__)

BUILDS = "builds"
LAUNCHES = "launches"
HOUSEKEEPING = "housekeeping"

_AWAKE = 10  # seconds that the sign "awake" holds without being renewed
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
                    log.warning("bell_not_sent", extra={"queue": queue, "error": type(error).__name__})

    async def aclose(self) -> None:
        """Wait for the last ring."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


class Listener:
    """The other side: waits for a ring, while awake on Redis, while asleep for Celery's task or the poll."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._redis = redis
        self._queue = queue
        self._rung = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._awake = False

    def rung(self) -> None:
        """Called by Celery's task, from any thread."""
        self._loop.call_soon_threadsafe(self._rung.set)

    def nudge(self) -> None:
        """Called inside the loop: there is work, or room for it."""
        self._rung.set()

    async def busy(self) -> None:
        """Say that this process is awake: callers need no Celery message."""
        self._awake = await self._redis.pipeline(("SET", self._redis.key("awake", self._queue), "1", "EX", _AWAKE)) is not None

    async def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most `seconds`; whether there was one."""
        if self._awake:
            return await self._listen(seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    async def _listen(self, seconds: float) -> bool:
        """Listen on the list of hints; after `seconds` of silence take the sign down and fall asleep."""
        hints, awake = self._redis.key("hint", self._queue), self._redis.key("awake", self._queue)
        heard = asyncio.create_task(self._redis.pipeline(("BLPOP", hints, min(seconds, 2.0)), ("DEL", hints), ("EXPIRE", awake, _AWAKE)))
        nudged = asyncio.create_task(self._rung.wait())
        try:
            await asyncio.wait({heard, nudged}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()
            if not heard.done():
                heard.cancel()
        if self._rung.is_set():
            self._rung.clear()
            return True
        answer = heard.result()
        if answer is not None and answer[0] is not None:
            return True
        # Nobody rang: take the sign down, then look once more, since somebody may have seen it in between.
        self._awake = False
        answer = await self._redis.pipeline(("DEL", awake), ("LPOP", hints))
        return answer is not None and answer[1] is not None
