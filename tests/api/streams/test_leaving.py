"""An api process that is stopped: it is not ready any more, its streams come back elsewhere, nothing is lost or told twice."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from tests.stack import Stack, own_settings, spec

pytestmark = pytest.mark.xdist_group("leaving")


@pytest.fixture
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with own_settings(tmp_path_factory.mktemp("leaving")) as (settings, directory), Stack(
        settings, directory, DOCKYARD_LEASES_DRAIN="10", DOCKYARD_LEASES_SECONDS="600", DOCKYARD_FRONT_LEAVE="20",
    ) as found:
        await found.up("api", "worker", "launcher")
        yield found


async def test_a_stopped_api_says_so_first_and_lets_its_streams_come_back(stack: Stack) -> None:
    script = "lines-30+slow-0+hold-10+leaving"
    path = spec(script)

    async def readyz(status: int) -> None:
        async def answers() -> bool:
            return (await stack.client.get("/readyz")).status_code == status

        await stack.until(answers)

    async with stack.stream(path) as stream:
        first = [await stream.until(lambda event: event["message"].startswith("line 3 "))]
        before = asyncio.create_task(_rest(stream))
        await readyz(200)
        stack.processes["api"].send_signal(signal.SIGTERM)
        await readyz(503)
        assert (await stack.client.get("/livez")).status_code == 200  # it serves while it says so
        told = first + await before  # the stream ends by itself, after a whole event
        last = stream.last
    assert await asyncio.to_thread(stack.processes["api"].wait, 120) in (0, -signal.SIGTERM)
    await stack.up("api")
    stack.release(script)
    async with stack.stream(path, last=last) as stream:
        told += await _rest(stream)
    lines = [event["message"] for event in told if event["message"].startswith("line ")]
    assert lines == [f"line {number} of 30\n" for number in range(3, 31)]
    assert told[-1]["phase"] == "ready"


async def _rest(stream: object) -> list[dict[str, str]]:
    return [event async for event in stream]  # type: ignore[attr-defined]
