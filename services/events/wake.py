"""Wake-ups: after a commit the writer says over Redis which launches and builds have something new.

The message carries the new events themselves, so that a reader who has everything before them needs no query. It
stays a hint: the rows are read again after every reconnection and every few seconds, and whoever finds a gap in the
numbers reads the rows. """

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from services.events.kinds import StoredEvent
from services.queue.redis import Redis

_CHANNEL = "wake"


@dataclass(frozen=True, slots=True)
class News:
    """What one message says. `lost`: messages may have been missed; read everything again."""

    events: list[StoredEvent]
    builds: dict[str, int]  # build -> number of its last line
    lost: bool = False


class Wake:
    """Publishes news; gathers what comes while one message is on its way."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._channel = redis.key(_CHANNEL)
        self._events: list[StoredEvent] = []
        self._builds: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def publish(self, events: Iterable[StoredEvent] = (), builds: Mapping[str, int] | None = None) -> None:
        """Tell the readers, after the commit; returns at once and never fails."""
        self._events += events
        if builds:
            self._builds |= builds
        if (self._events or self._builds) and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        while self._events or self._builds:
            events, self._events = self._events, []
            builds, self._builds = self._builds, {}
            body = json.dumps({
                "e": [(e.launch, e.seq, e.at, e.kind, e.state, dict(e.data)) for e in events], "b": builds,
            }, separators=(",", ":"))
            await self._redis.pipeline(("PUBLISH", self._channel, body))

    async def aclose(self) -> None:
        """Wait for the last message."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


class WakeListener:
    """Receives news."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def news(self) -> AsyncIterator[News]:
        """All news, for ever; the first item and the first after a gap have `lost` set."""
        async for message in self._redis.messages(self._redis.key(_CHANNEL)):
            if message is None:
                yield News([], {}, lost=True)
                continue
            body = json.loads(message)
            yield News([StoredEvent(*fields) for fields in body["e"]], body["b"])
