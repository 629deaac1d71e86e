"""The bounded memory and the shared call."""

import asyncio

import pytest

from services.providers.cache import Lru, Shared


def test_the_least_used_goes_first() -> None:
    lru: Lru[str, int] = Lru(2)
    lru.put("a", 1)
    lru.put("b", 2)
    assert lru.get("a") == 1
    lru.put("c", 3)
    assert (lru.get("a"), lru.get("b"), lru.get("c"), len(lru)) == (1, None, 3, 2)
    lru.drop("a")
    lru.drop("nothing")
    assert len(lru) == 1


async def test_one_call_serves_all_even_those_who_stay_when_others_leave() -> None:
    shared: Shared[str, int] = Shared()
    calls = 0
    go = asyncio.Event()

    async def call() -> int:
        nonlocal calls
        calls += 1
        await go.wait()
        return calls

    waiting = [asyncio.ensure_future(shared.get("k", call)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    go.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [1, 1, 1, 1]
    assert await shared.get("k", call) == 2, "nothing is kept"


async def test_all_get_the_exception_and_nobody_need_see_it() -> None:
    shared: Shared[str, int] = Shared()
    go = asyncio.Event()

    async def call() -> int:
        await go.wait()
        raise LookupError("no")

    waiting = [asyncio.ensure_future(shared.get("k", call)) for _ in range(2)]
    await asyncio.sleep(0)
    go.set()
    assert [type(result) for result in await asyncio.gather(*waiting, return_exceptions=True)] == [LookupError] * 2
    go.clear()
    alone = asyncio.ensure_future(shared.get("k", call))
    await asyncio.sleep(0)
    alone.cancel()
    go.set()
    await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await alone


async def test_closing_cancels() -> None:
    shared: Shared[str, int] = Shared()

    async def call() -> int:
        await asyncio.Event().wait()
        return 1

    waiting = asyncio.ensure_future(shared.get("k", call))
    await asyncio.sleep(0)
    await shared.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
