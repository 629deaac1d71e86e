"""What the reaper is told of this machine: directories, sockets, accounts and processes that somebody has left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.runtimes.base import Thing
from services.runtimes.local.detached import SHIM
from services.runtimes.local.paths import Paths
from services.runtimes.local.reality import LocalReality, place
from services.runtimes.local.servers import Servers
from services.runtimes.local.workshop import Workshop
from services.settings import BuildSettings, HomeSettings, LocalSettings

HOUR = 3600


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.of(LocalSettings(), HomeSettings(path=str(tmp_path / "home"))).make()


@pytest.fixture
def reality(paths: Paths) -> LocalReality:
    home = HomeSettings(path=str(paths.root.parent))
    (paths.egress.parent / "s").mkdir(parents=True)
    return LocalReality(Workshop(paths, LocalSettings(), BuildSettings()), Servers(home, LocalSettings(), BuildSettings()))


async def found(reality: LocalReality) -> dict[tuple[str, str], Thing]:
    """What is there of this home: control groups are the machine's."""
    return {(one.kind, one.name): one for one in await reality.things() if one.kind != "group"}


async def test_what_killed_processes_have_left_is_told_with_its_age_and_can_be_removed(reality: LocalReality, paths: Paths) -> None:
    hour_ago = time.time() - HOUR
    for top, name, file in ((paths.builds, "build-x-1", "job.json"), (paths.servers, "somebody", "uses.json")):
        (top / name).mkdir()
        (top / name / file).write_text("{}")
        os.utime(top / name / file, (hour_ago, hour_ago))
    sockets = paths.egress.parent / "s"
    for name in (place("somebody"), place("gone")):
        (sockets / name).mkdir()
    (paths.builds / ".removed-1").mkdir()
    for number, owner in ((1, "build-x-1"), (2, "somebody"), (3, "build-y-1")):
        (paths.root / "uids" / str(number)).write_text(owner)
    things = await found(reality)
    assert set(things) == {
        ("build", "build-x-1"), ("server", "somebody"), ("socket", place("gone")), ("account", "3"), ("remains", ".removed-1")}
    assert things["build", "build-x-1"].since == pytest.approx(hour_ago, abs=2)
    assert things["server", "somebody"].owner == "somebody"
    # In the reaper's order: what has been of a server or build is nobody's once its directory has gone.
    for one in things.values():
        await reality.clear(one)
        await reality.clear(one)
    assert await found(reality) == {}
    left = {path.name for path in (paths.root / "uids").iterdir()}
    assert left == (set() if os.geteuid() == 0 else {"1", "2"})


async def test_a_shim_whose_directory_is_gone_is_told_and_ended(reality: LocalReality, paths: Paths) -> None:
    # In place of a shim: a process that has its command line.
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", str(SHIM), str(paths.servers / "gone" / "run")], start_new_session=True)
    try:
        things = await found(reality)
        assert set(things) == {("process", str(sleeper.pid))}
        assert time.time() - things["process", str(sleeper.pid)].since < HOUR
        await reality.clear(things["process", str(sleeper.pid)])
        assert sleeper.wait(20) == -9
    finally:
        sleeper.kill()
        sleeper.wait()
