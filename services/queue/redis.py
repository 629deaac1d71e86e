"""The one module that speaks to Valkey or Redis, and turns its errors into ours.

Nothing here is the truth of anything: a wake-up that is lost costs a poll. So every call has a short time-out, a
failure is answered with "not sent", and after one the next attempt waits a moment instead of making every caller
wait. """

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.observe.breakers import Breaker
from services.settings import RedisSettings

_SILENCE = 6.0  # seconds without a message or an answer to a ping after which a subscription is made anew
_PAUSE = 0.5  # seconds without another attempt after a failure


class Redis:
    """A small pool of connections. `ok` tells whether the last command went through."""

    def __init__(self, settings: RedisSettings) -> None:
        self.prefix = settings.prefix
        self.ok = True
        self._not_before = 0.0
        self.breaker = Breaker("Valkey", threshold=2, longest=_PAUSE)  # shown only; what decides is the pause
        url = settings.url.get_secret_value()
        pool = aioredis.BlockingConnectionPool.from_url(
            url, max_connections=8, timeout=1, socket_timeout=3, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
        self._client = aioredis.Redis(connection_pool=pool)

    def key(self, *parts: str) -> str:
        """A key or channel below the prefix."""
        return ":".join((self.prefix, *parts))

    async def pipeline(self, *commands: tuple[Any, ...]) -> list[Any] | None:
        """Send commands in one round trip; None when Redis is not there."""
        if time.monotonic() < self._not_before:
            return None
        pipe = self._client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        try:
            answer = await pipe.execute()
        except (RedisError, OSError, TimeoutError):
            self.ok = False
            self._not_before = time.monotonic() + _PAUSE
            self.breaker.failed("Valkey does not answer; everything goes on, up to a second slower.")
            return None
        self.ok = True
        self.breaker.succeeded()
        return list(answer)

    async def messages(self, channel: str) -> AsyncIterator[bytes | None]:
        """Messages of one channel, for ever; None after each (re)connection, since what came between is lost."""
        pause = 0.1
        while True:
            pubsub = self._client.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(channel)
                pause, heard = 0.1, time.monotonic()
                yield None
                while True:
                    message = await pubsub.get_message(timeout=_SILENCE / 3)
                    if message is not None:
                        self.ok, heard = True, time.monotonic()
                        if message["type"] == "message":
                            yield message["data"]
                    elif time.monotonic() - heard > _SILENCE:
                        raise TimeoutError  # A connection can die without a word; then nobody answers the pings.
                    else:
                        await pubsub.ping()
            except (RedisError, OSError, TimeoutError):
                self.ok = False
            finally:
                # A broken connection may fail to close as well; it is gone either way.
                try:
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
                except (RedisError, OSError, TimeoutError):
                    self.ok = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    async def ping(self) -> bool:
        """Whether it answers now."""
        return await self.pipeline(("PING",)) is not None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose(close_connection_pool=True)  # the pool is ours, so nobody else closes it
