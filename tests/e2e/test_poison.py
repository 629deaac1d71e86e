"""Work that takes its worker along is given up after so many workers, with a reason, and takes nothing else along."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.stack import Stack, own_settings, spec

CRASHES = 3


@pytest.fixture
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with own_settings(tmp_path_factory.mktemp("poison")) as (settings, directory), Stack(
        settings, directory, DOCKYARD_BUILDS_CRASHES=str(CRASHES), DOCKYARD_LEASES_SECONDS="1",
    ) as found:
        await found.up("api", "launcher")
        yield found


async def test_a_build_that_kills_every_worker_ends_with_a_reason(stack: Stack) -> None:
    poison = asyncio.create_task(stack.launch(spec("hang+poison")))
    for crashes in range(CRASHES):
        stack.start("worker")

        async def claimed(crashes: int = crashes) -> bool:
            rows = await stack.query("SELECT crashes FROM build WHERE lease_until > now() AND state <> 'queued'")
            return bool(rows) and rows[0].crashes == crashes

        await stack.until(claimed, 40)
        await stack.kill("worker")
    stack.start("worker")
    told = await poison
    assert told[-1]["phase"] == "failed"
    assert told[-1]["message"].startswith("This build has stopped several workers; it was given up.")
    (row,) = await stack.query("SELECT state, attempt FROM build")
    assert (row.state, row.attempt) == ("failed", 1)
    assert (await stack.launch(spec("lines-1+slow-0+other")))[-1]["phase"] == "ready"
