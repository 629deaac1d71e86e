"""The git servers that other tests stand on do what git servers do."""

import asyncio
from pathlib import Path

import pytest

from tests.gitserver import Executable, Fault, GitDaemon, GitServer, Repo, Submodule, Symlink, git
from tests.processes import kill


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo.create(tmp_path, "group/name.git")
    repo.commit({"a.txt": "one\n", "run": Executable("#!/bin/sh\n"), "link": Symlink("a.txt"), 'od"d\n': b"\0"})
    return repo


async def clone(url: str, to: Path, *more: str) -> None:
    await asyncio.to_thread(git, "clone", "-q", *more, "--", url, str(to))


async def test_a_clone_has_what_was_committed(repo: Repo, tmp_path: Path) -> None:
    second = repo.commit({"a.txt": None, "b/c.txt": "two\n", "sub": Submodule("1" * 40)})
    tag = repo.tag("v1", message="first")
    repo.branch("dev", "HEAD~1")
    async with GitServer(tmp_path) as server:
        await clone(server.url("group/name.git"), tmp_path / "clone")
        assert "GET /group/name.git/info/refs?service=git-upload-pack" in server.hits("group/name.git")
    assert git("rev-parse", "HEAD", cwd=tmp_path / "clone") == second
    assert (tmp_path / "clone/b/c.txt").read_text() == "two\n"
    assert (tmp_path / "clone/run").stat().st_mode & 0o111
    assert (tmp_path / "clone/link").is_symlink()
    assert (tmp_path / 'clone/od"d\n').read_bytes() == b"\0"
    assert not (tmp_path / "clone/a.txt").exists()
    assert tag != second == repo.id("v1")
    assert repo.refs()["refs/heads/dev"] == repo.id("HEAD~1")


async def test_the_old_protocol_and_faults(repo: Repo, tmp_path: Path) -> None:
    async with GitServer(tmp_path, protocols=False) as server:
        url = server.url("group/name.git")
        await clone(url, tmp_path / "old")
        server.faults["group/name.git"] = Fault(status=503, times=1)
        with pytest.raises(RuntimeError, match="503"):
            await clone(url, tmp_path / "fault")
        await clone(url, tmp_path / "again")
        server.faults["group/name.git"] = Fault(hang=True)
        hanging = await asyncio.create_subprocess_exec(
            "git", "ls-remote", url, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(120):
                while len(server.hits("group/name.git")) < 6:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            kill(hanging.pid)
            raise
    assert await hanging.wait()


def test_the_daemon(repo: Repo, tmp_path: Path) -> None:
    with GitDaemon(tmp_path) as daemon:
        assert repo.id("HEAD") in git("ls-remote", daemon.url("group/name.git"))
