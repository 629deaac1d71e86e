"""What launches depend on goes away and comes back: requests in the gap wait, and none fails. `./dockyard bench gaps` takes longer."""

from pathlib import Path

import httpx
import pytest

from tests.faults.checker import check, settled
from tests.faults.gaps import CASES, run
from tests.faults.site import site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("faults")]


async def test_what_goes_away_and_comes_back_fails_no_launch(short: Path) -> None:
    async with (
        site(short, DOCKYARD_HUB_RESTART="1", DOCKYARD_LEASES_SECONDS="60") as found,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{found.port}", trust_env=False, limits=httpx.Limits(max_connections=None)) as client,
    ):
        for case in CASES:
            gap = await run(found, client, case, 2.0)
            print(case, gap.figures)
            assert gap.wrong == [], f"{case}\n{found.logs()}"
        assert await settled(found, 300) + await check(found, 300) == [], found.logs()
        assert found.ended.total() == 0
