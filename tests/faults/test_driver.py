"""Some seconds of everything that can die, with one seed. `./dockyard bench faults` does the same for longer."""

from pathlib import Path

import pytest

from tests.faults.driver import Driver
from tests.faults.site import site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("faults")]


async def test_whatever_dies_every_launch_ends_and_nothing_is_left(short: Path) -> None:
    async with site(short) as found:
        outcome = await Driver(found, 1, clients=4, rest=300, patience=600).run(12, ready=6)
        assert outcome.wrong == [], found.logs()
    assert outcome.faults.total() > 1
    assert outcome.ends["ready"] > 5
