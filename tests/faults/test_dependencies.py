"""What launches depend on goes away and comes back: requests in the gap wait, and none fails. `./dockyard bench gaps` takes longer."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx
import pytest

from tests.faults.checker import check, settled
from tests.faults.gaps import CASES, Gap, run
from tests.faults.outside import outside
from tests.faults.site import Site, site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("faults")]


async def test_what_goes_away_and_comes_back_fails_no_launch(short: Path) -> None:
    async with site(short, DOCKYARD_HUB_RESTART="1", DOCKYARD_LEASES_SECONDS="60") as found:
        await tried(found, CASES, 2.0)


async def test_a_forge_and_a_registry_that_go_away_are_waited_for_and_those_that_refuse_are_named(short: Path) -> None:
    async with outside(short) as there, site(
            short, DOCKYARD_LEASES_SECONDS="60", DOCKYARD_BUILDS_PATIENCE="600", **there.settings) as found:
        await tried(found, there.cases, 1.0)


async def tried(found: Site, cases: Mapping[str, Callable[[Gap], Awaitable[None]]], seconds: float) -> None:
    """Each case holds, and everything after them."""
    async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{found.port}", trust_env=False, limits=httpx.Limits(max_connections=None)) as client:
        for name, case in cases.items():
            gap = await run(found, client, case, seconds)
            print(name, gap.figures)
            assert gap.wrong == [], f"{name}\n{found.logs()}"
        assert await settled(found, 300) + await check(found, 300) == [], found.logs()
        assert found.ended.total() == 0
