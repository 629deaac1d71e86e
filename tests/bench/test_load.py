"""The two loads count what they got, and notice what is wrong with it."""

import asyncio
import time
from array import array

import pytest

from bench.found import Target, run
from bench.watch import Crowd, Schedule, quantile
from tests.dockyard_client.peer import NO_ANSWER, Answer, Asked, Peer, event, listening, stream

LAUNCH = "0123456789abcdef" * 2
FOUND = event(f"{LAUNCH}.1.0", "built", "Found built image, launching...\n")
READY = event(f"{LAUNCH}.2.0", "ready", "server running\n", url="http://h/", token="t")


def target(peer: Peer) -> Target:
    return Target.of(peer.url, "/build/git/x/y")


async def test_launches_are_counted_until_the_time_is_over() -> None:
    async def decide(asked: Asked) -> Answer:
        return stream(FOUND, READY)

    async with listening(Peer(decide=decide)) as peer:
        result = await run(target(peer), 4, 1.0)
    assert len(peer.asked) == result.ended == len(result.launches)
    assert result.ended - 4 <= len(result.latencies) <= result.ended
    assert set(result.launches) == {LAUNCH}
    assert result.rate == len(result.latencies) / result.seconds
    assert 0 < result.quantile(0.5) <= result.quantile(0.99)
    assert not result.failures
    assert peer.asked[0].headers["accept"] == "text/event-stream"


async def test_one_launch_is_counted_at_least_and_makes_no_rate_of_a_time_that_it_did_not_take() -> None:
    async def decide(asked: Asked) -> Answer:
        await asyncio.sleep(0.2)
        return stream(FOUND, READY)

    async with listening(Peer(decide=decide)) as peer:
        result = await run(target(peer), 2, 0.01)
    assert (result.ended, len(result.latencies)) == (2, 1)
    assert result.rate == 1 / result.seconds < 1 / 0.2


@pytest.mark.parametrize(("said", "complaint"), [
    (stream(event("", "failed", "No.\n")), '{"phase": "failed", "message": "No.\\n"}'),
    (stream(FOUND), '"built"'),
    (NO_ANSWER, "closed without a word"),
])
async def test_what_is_not_ready_is_a_failure(said: Answer, complaint: str) -> None:
    async def decide(asked: Asked) -> Answer:
        return said

    async with listening(Peer(decide=decide)) as peer:
        result = await run(target(peer), 1, 0.05)
    assert result.ended == 0
    assert result.failures
    assert all(complaint in told for told in result.failures)


def lines(*numbers: int) -> list[str]:
    return [event(f"{LAUNCH}.1.{n}", "building", f"line {n} of 3\n") for n in numbers]


@pytest.mark.parametrize(("numbers", "complete"), [
    ((1, 2, 3), 1), ((1, 3), 0), ((1, 2), 0), ((1, 2, 2, 3), 0), ((2, 1, 3), 0), ((), 0),
])
async def test_a_watcher_is_complete_with_each_line_once_in_order(numbers: tuple[int, ...], complete: int) -> None:
    async with listening(Peer(stream("retry: 1000\n\n", *lines(*numbers), READY))) as peer:
        crowd = Crowd(target(peer), Schedule(3, 0.01, begun=time.time()))
        await crowd.connect(1)
        await crowd.wait(time.monotonic() + 60)
    assert (crowd.complete(), crowd.ready()) == (complete, 1)
    assert sum(crowd.failures.values()) == 1 - complete


async def test_only_lines_made_while_watching_have_a_lag() -> None:
    async with listening(Peer(stream(*lines(1, 2, 3), READY))) as peer:
        crowd = Crowd(target(peer), Schedule(3, 1.0, begun=time.time() + 600))
        await crowd.connect(1)
        await crowd.wait(time.monotonic() + 60)
        assert (len(crowd.joined), len(crowd.lags)) == (1, 2)
    async with listening(Peer(stream(*lines(1, 2, 3), READY))) as peer:
        crowd = Crowd(target(peer), Schedule(3, 0.01, begun=time.time() - 60))
        await crowd.connect(1)
        await crowd.wait(time.monotonic() + 60)
        assert not crowd.lags


async def test_a_stream_without_an_end_is_told() -> None:
    async with listening(Peer(stream(*lines(1, 2, 3), cut=True))) as peer:
        crowd = Crowd(target(peer), Schedule(3, 0.01, begun=time.time()))
        await crowd.connect(1)
        await crowd.wait(time.monotonic() + 60)
        await asyncio.sleep(0)
    assert [told for told in crowd.failures if told.startswith("closed before the end")]


def test_quantiles_are_in_milliseconds() -> None:
    values = array("f", [n / 1000 for n in range(100)])
    assert round(quantile(values, 0.5)) == 50
    assert round(quantile(values, 1.0)) == 99


def test_only_loopback_is_loaded() -> None:
    with pytest.raises(ValueError, match="not on loopback"):
        Target.of("http://example.org", "/build/gh/o/r/HEAD")
