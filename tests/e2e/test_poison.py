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
        found.start("launcher", DOCKYARD_LEASES_SECONDS="60")
        await found.up("api")
        yield found


async def test_a_build_that_kills_every_worker_ends_with_a_reason(stack: Stack) -> None:
    poison = asyncio.create_task(stack.launch(spec("hang+poison")))
    for _ in range(CRASHES):
        stack.start("worker")

        async def taken(owner: str = f":{stack.processes['worker'].pid}:") -> bool:
            # Or given up by it already, where it has been so slow that it has lost the lease once more by itself.
            rows = await stack.query("SELECT lease_owner, state FROM build")
            return bool(rows) and (owner in (rows[0].lease_owner or "") or rows[0].state == "failed")

        await stack.until(taken)
        await stack.kill("worker")
    stack.start("worker")
    told = await poison
    assert told[-1]["phase"] == "failed"
    assert told[-1]["message"].startswith("This build has stopped several workers; it was given up.")
    (row,) = await stack.query("SELECT state, attempt, epoch FROM build")
    assert (row.state, row.attempt, row.epoch > CRASHES) == ("failed", 1, True)
    await stack.kill("worker")
    stack.start("worker", DOCKYARD_LEASES_SECONDS="60")
    assert (await stack.launch(spec("lines-1+slow-0+other")))[-1]["phase"] == "ready"
