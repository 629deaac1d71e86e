"""A whole tree, with its real hub: killed (-9) while it works, twice, and started again; and, for who has minutes, broken in
every way while real builds and servers run.

`./dockyard bench faults --power 20` and `--runtime local` do both for longer.
"""

import os
from pathlib import Path

import pytest

from tests.faults.asks import RealAsks
from tests.faults.driver import Driver
from tests.faults.power import cut_off
from tests.faults.tree import Tree
from tests.gitserver import GitServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("faults")]
QUICK = {"DOCKYARD_LEASES_SECONDS": "3", "DOCKYARD_REAPER_EVERY": "1", "DOCKYARD_REAPER_ORPHAN_AGE": "1"}


async def test_a_tree_that_was_killed_takes_up_everything_when_it_is_started_again(short: Path) -> None:
    short.chmod(0o711)
    async with Tree(short, "fake", doors=False, **QUICK) as tree:
        outcome = await cut_off(tree, Driver(tree, 1, clients=3, rest=300, patience=600), 1, 2, longest=3.0, ready=4)
        assert outcome.wrong == [], tree.logs()
    assert outcome.ends["ready"] > 3


@pytest.mark.skipif(not os.environ.get("FAULTS_ON_LOCAL"), reason="takes minutes: set FAULTS_ON_LOCAL=1, or use ./dockyard bench faults")
async def test_whatever_dies_real_builds_and_servers_end_and_nothing_is_left(short: Path) -> None:
    short.chmod(0o711)
    (short / "git").mkdir()
    async with GitServer(short / "git") as git, Tree(short, "local", **QUICK) as tree:
        outcome = await Driver(tree, 3, asks=RealAsks(git, short / "git", 3), clients=2, rest=130, breakers=3).run(15)
        assert outcome.wrong == [], tree.logs()
    assert outcome.faults.total() >= 3
    assert outcome.used > 0
