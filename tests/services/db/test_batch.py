"""The micro-batcher: what it gathers, in which order, and whom a failure concerns."""

import asyncio
from collections.abc import Sequence

import pytest

from services.db import Batch
from services.db.engine import DatabaseGone


async def test_what_queues_during_a_flush_goes_into_the_next_one() -> None:
    batches: list[list[int]] = []
    gate = asyncio.Event()

    async def flush(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        await gate.wait()
        return [item * 2 for item in items]

    batch: Batch[int, int] = Batch(flush)
    first = batch.submit(1)
    await asyncio.sleep(0)
    rest = [batch.submit(n) for n in range(2, 6)]
    gate.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8, 10]
    assert batches == [[1], [2, 3, 4, 5]]


async def test_one_bad_item_fails_alone() -> None:
    async def flush(items: Sequence[int]) -> Sequence[int]:
        if 3 in items:
            raise ValueError("three")
        return list(items)

    batch: Batch[int, int] = Batch(flush)
    results = await asyncio.gather(*[batch.submit(n) for n in range(5)], return_exceptions=True)
    assert [result for result in results if isinstance(result, int)] == [0, 1, 2, 4]
    assert isinstance(results[3], ValueError)


async def test_items_of_one_key_go_into_different_batches_in_order() -> None:
    batches: list[list[tuple[str, int]]] = []

    async def flush(items: Sequence[tuple[str, int]]) -> Sequence[None]:
        batches.append(list(items))
        return [None] * len(items)

    batch: Batch[tuple[str, int], None] = Batch(flush, key=lambda item: item[0])
    await asyncio.gather(*[batch.submit(item) for item in [("a", 1), ("a", 2), ("b", 1), ("a", 3)]])
    assert batches == [[("a", 1), ("b", 1)], [("a", 2)], [("a", 3)]]


async def test_a_batch_has_a_size() -> None:
    sizes: list[int] = []

    async def flush(items: Sequence[int]) -> Sequence[None]:
        sizes.append(len(items))
        return [None] * len(items)

    batch: Batch[int, None] = Batch(flush, most=10)
    await asyncio.gather(*[batch.submit(n) for n in range(25)])
    assert sizes == [10, 10, 5]


async def test_a_cancelled_waiter_does_not_disturb_the_others() -> None:
    async def flush(items: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0)
        return list(items)

    batch: Batch[int, int] = Batch(flush)
    futures = [batch.submit(n) for n in range(3)]
    futures[1].cancel()
    assert await futures[0] == 0
    assert await futures[2] == 2
    with pytest.raises(asyncio.CancelledError):
        await futures[1]


async def test_a_database_that_is_away_fails_the_whole_batch_at_once() -> None:
    sizes: list[int] = []

    async def flush(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        raise DatabaseGone("It is away.")

    batch: Batch[int, int] = Batch(flush)
    results = await asyncio.gather(*[batch.submit(n) for n in range(50)], return_exceptions=True)
    assert sizes == [50]
    assert all(isinstance(result, DatabaseGone) for result in results)
