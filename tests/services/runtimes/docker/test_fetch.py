"""How the steps of a build container fetch from a server that is away, with real git; no engine is needed for it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gitrepo import Repo
from tests.gitserver import Fault, GitServer
from tests.services.runtimes.docker.lab import ROOT

FETCH = """
import sys
from pathlib import Path
from steps.fetch import Failed, Git
url, commit, into, patience = sys.argv[1:]
try:
    Git({}, float(patience)).commit({"repo_url": url, "commit": commit, "branch": ""}, Path(into))
except Failed as error:
    sys.exit(str(error))
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    (tmp_path / "served").mkdir()
    async with GitServer(tmp_path / "served") as server:
        yield server


async def fetched(server: GitServer, tmp_path: Path, fault: Fault, patience: float) -> tuple[bool, str]:
    """Whether the commit was there at last, and what was said."""
    commit = Repo.create(tmp_path / "served", "r.git").commit({"a": "1"})
    server.faults["r.git"] = fault
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FETCH, server.url("r.git"), commit, str(tmp_path / "into"), str(patience), cwd=ROOT / "deploy" / "build",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said = (await process.communicate())[0].decode()
    assert (process.returncode == 0) == (tmp_path / "into" / "a").exists()
    return process.returncode == 0, said


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_fails_for_a_moment_is_waited_for(server: GitServer, tmp_path: Path, status: int) -> None:
    there, said = await fetched(server, tmp_path, Fault(status=status, times=2), 60)
    assert there, said
    assert said.count("Trying again.") == 2


async def test_one_that_stays_away_ends_the_build(server: GitServer, tmp_path: Path) -> None:
    there, said = await fetched(server, tmp_path, Fault(status=503), 2)
    assert not there
    assert said.count("Trying again.") == 1
    assert "Failed to clone repository" in said


@pytest.mark.parametrize("status", [401, 404])
async def test_one_that_refuses_is_not_asked_again(server: GitServer, tmp_path: Path, status: int) -> None:
    there, said = await fetched(server, tmp_path, Fault(status=status, times=1), 60)
    assert not there
    assert "Trying again." not in said
