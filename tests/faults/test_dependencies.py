"""What launches depend on goes away and comes back: requests in the gap wait, and none fails."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from tests.faults.checker import check, settled
from tests.faults.client import Story, follow
from tests.faults.site import Site, site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("faults")]


async def launch(client: httpx.AsyncClient, *scripts: str) -> list[Story]:
    return list(await asyncio.gather(*[follow(client, script) for script in scripts]))


async def postgres_restarts(found: Site, client: httpx.AsyncClient) -> list[Story]:
    """Five times, gracefully and not, with requests inside each gap."""
    stories = []
    for n in range(5):
        await found.postgres.end(signal.SIGINT if n % 2 else signal.SIGQUIT)
        asking = asyncio.create_task(launch(client, "lines-2+slow-0+known", f"lines-9+slow-1+p{n}"))
        await asyncio.sleep(0.5)
        await found.postgres.start()
        stories += await asking
    return stories


async def valkey_is_lost(found: Site, client: httpx.AsyncClient) -> list[Story]:
    """Launches go on without it, and go on when it comes back empty."""
    await found.valkey.end(signal.SIGKILL)
    stories = await launch(client, "lines-2+slow-0+known", "lines-9+slow-1+v0")
    await found.valkey.start()
    return stories + await launch(client, "lines-2+slow-0+known", "lines-9+slow-1+v1")


async def the_hub_is_down(found: Site, client: httpx.AsyncClient) -> list[Story]:
    """Launches wait for it."""
    await found.end_part("hub")
    asking = asyncio.create_task(launch(client, "lines-2+slow-0+known", "lines-9+slow-1+h0"))
    await asyncio.sleep(3)
    found.start_part("hub")
    return await asking


async def test_what_goes_away_and_comes_back_fails_no_launch(short: Path) -> None:
    async with site(short) as found, httpx.AsyncClient(base_url=f"http://127.0.0.1:{found.port}", trust_env=False) as client:
        stories = await launch(client, "lines-2+slow-0+known")
        for gap in (postgres_restarts, valkey_is_lost, the_hub_is_down):
            stories += await gap(found, client)
        assert [(story.script, story.end, story.wrong) for story in stories] == [(story.script, "ready", []) for story in stories]
        assert await settled(found, 30) + await check(found) == [], found.logs()
        assert found.ended.total() == 0
