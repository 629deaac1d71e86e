"""Two small things that keep us from asking a forge twice: a bounded memory, and one request for all who wait for it."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """At most `size` values; the one that was not used for the longest time goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, which counts as used now."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget a value, if there is one."""
        self._values.pop(key, None)

    def __len__(self) -> int:
        return len(self._values)


class Shared(Generic[K, V]):
    """Runs one call per key at a time; whoever asks meanwhile gets the result of that one.

    A caller who is cancelled leaves the call to the others. Nothing is kept once it has ended.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        """The result, or the exception, of the call that is under way for `key`, else of a new one."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(_started(call))
            self._running[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Cancel what runs."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: K, task: asyncio.Task[V]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # Seen, also when every caller has been cancelled.


async def _started(call: Callable[[], Awaitable[V]]) -> V:
    return await call()
