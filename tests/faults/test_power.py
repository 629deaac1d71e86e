"""The whole tree is killed (-9) while it works, twice, and started again. `./dockyard bench faults --power 20` does it longer."""

from pathlib import Path

import pytest

from tests.faults.driver import Driver
from tests.faults.power import cut_off
from tests.faults.tree import Tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("faults")]


async def test_a_tree_that_was_killed_takes_up_everything_when_it_is_started_again(short: Path) -> None:
    short.chmod(0o711)
    quick = {"DOCKYARD_LEASES_SECONDS": "3", "DOCKYARD_REAPER_EVERY": "1", "DOCKYARD_REAPER_ORPHAN_AGE": "1"}
    async with Tree(short, "fake", doors=False, **quick) as tree:
        outcome = await cut_off(tree, Driver(tree, 1, clients=3), 1, 2, longest=3.0)
        assert outcome.wrong == [], tree.logs()
    assert outcome.ends["ready"] > 3
