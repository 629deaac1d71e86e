"""A micro-batcher without a timer: what queues up while one commit is in flight goes into the next statement.

An idle process adds no latency; a busy one pays for one statement and one flush of the log per batch, whatever its
size. One poisonous item must not fail its neighbours: when a batch fails, its items are tried one by one. Not so when the
database is away, which is nobody's fault: each would wait for it as long as the whole batch has. """

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from services.db.engine import DatabaseGone

I = TypeVar("I")  # noqa: E741 - item
R = TypeVar("R")


class Batch(Generic[I, R]):
    """Collects items and hands them to `flush`, at most `most` at a time and one per key.

    `flush` returns one result per item, in order. Items with the same key go into different batches, in order, since
    one UPDATE touches a row only once. """

    def __init__(
        self,
        flush: Callable[[Sequence[I]], Awaitable[Sequence[R]]],
        *,
        most: int = 256,
        flushers: int = 1,
        key: Callable[[I], Hashable] | None = None,
    ) -> None:
        self._flush = flush
        self._most = most
        self._flushers = flushers
        self._key = key
        self._queue: list[tuple[I, asyncio.Future[R]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, item: I) -> "asyncio.Future[R]":
        """Queue one item; the future has its result once the batch has been committed."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if len(self._tasks) < self._flushers:
            task = asyncio.create_task(self._drain())
            self._tasks.add(task)
        return future

    def _take(self) -> list[tuple[I, "asyncio.Future[R]"]]:
        if self._key is None:
            batch, self._queue = self._queue[: self._most], self._queue[self._most :]
            return batch
        seen: set[Hashable] = set()
        batch, rest = [], []
        for entry in self._queue:
            key = self._key(entry[0])
            if key in seen or len(batch) >= self._most:
                rest.append(entry)
            else:
                batch.append(entry)
            seen.add(key)
        self._queue = rest
        return batch

    async def _drain(self) -> None:
        try:
            while self._queue:
                await self._write(self._take())
        finally:
            # At once, not by the done callback: a waiter that submits its next item runs before that would.
            self._tasks.discard(asyncio.current_task())

    async def _write(self, batch: list[tuple[I, "asyncio.Future[R]"]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
        except DatabaseGone as error:
            for _, future in batch:
                _fail(future, error)
            return
        except Exception as error:  # noqa: BLE001 - every waiter gets the error of its own item
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            for entry in batch:
                await self._write([entry])
            return
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def aclose(self) -> None:
        """Wait for everything that was queued."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


def _fail(future: "asyncio.Future[R]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
