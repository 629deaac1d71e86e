"""What a link may say beside its repository: a directory of it, another repository's environment, and a private one."""

import asyncio
import contextlib
import json
import os
import stat
from pathlib import Path

import pytest

from services.runtimes.base import Source
from services.runtimes.local.builder import LocalBuilder
from tests.gitrepo import Executable, Repo, Symlink
from tests.gitserver import Fault, GitServer
from tests.services.runtimes.local.ground import Built, Ground, fresh

SECRET = "canary-8d1f2a"


def tree(home: Ground, built: Built) -> Path:
    assert built.exit.ok, built.text + built.exit.reason
    return home.workshop().images.open(built.job.image).content


def names(tree: Path) -> list[str]:
    return sorted(path.name for path in tree.iterdir())


async def test_a_directory_is_built_as_if_it_were_the_repository(home: Ground, repo: Repo, url: str) -> None:
    package = fresh(home)
    first = repo.commit({
        "requirements.txt": "no-such-package-anywhere\n", "course/week1/requirements.txt": f"{package}\n", "course/week1/a.txt": "1",
        "course/week1/.hidden": "", "other/b.txt": "2",
    })
    built = await home.build(home.job(url, first, subdir="course/week1"))
    assert names(tree(home, built)) == [".hidden", "a.txt", "requirements.txt"]
    assert "Only course/week1 of it is built." in built.text
    second = repo.commit({"other/b.txt": "3"})
    assert (await home.build(home.job(url, second, subdir="course/week1"))).exit.facts["reused"] == "yes"


async def test_an_environment_that_reads_the_directory_reads_nothing_else(home: Ground, repo: Repo, url: str) -> None:
    files: dict[str, str | Executable] = {"part/postBuild": Executable("#!/bin/sh\ntest ! -e ../other && touch made\n"), "other/b.txt": "2"}
    first = await home.build(home.job(url, repo.commit(files), subdir="part"))
    assert names(tree(home, first)) == ["made", "postBuild"]
    second = await home.build(home.job(url, repo.commit({"other/b.txt": "3"}), subdir="part"))
    assert second.plan.environment == first.plan.environment
    third = await home.build(home.job(url, repo.commit({"part/c.txt": "3"}), subdir="part"))
    assert third.plan.environment != first.plan.environment


@pytest.mark.parametrize("subdir", ["absent", "file", "away", "Part"])
async def test_what_is_no_directory_is_refused(subdir: str, home: Ground, repo: Repo, url: str) -> None:
    commit = repo.commit({"file": "", "away": Symlink("/etc"), "part/a": ""})
    built = await home.build(home.job(url, commit, subdir=subdir))
    assert built.exit.reason == f'The repository has no directory "{subdir}" at this commit.'


async def test_content_is_laid_over_the_environment_of_another_repository(home: Ground, repo: Repo, served: GitServer, url: str) -> None:
    package, other = fresh(home), Repo.create(served.root, f"environment-{repo.path.name}")
    environment = Source("git", served.url(other.path.name), other.commit({
        "requirements.txt": f"{package}\n", "README.md": "environment", "data/shared.csv": "1", "tools": "file",
    }))
    first = repo.commit({
        "requirements.txt": "no-such-package-anywhere\n", "postBuild": Executable("exit 1"), "README.md": "content", "data/own.csv": "2",
        "tools/x": "directory", "data/link": Symlink("/etc"),
    })
    built = await home.build(home.job(url, first, environment=environment))
    content = tree(home, built)
    assert names(content) == [".git", "README.md", "data", "requirements.txt", "tools"]
    assert (names(content / "data"), names(content / "tools")) == (["link", "own.csv", "shared.csv"], ["x"])
    assert ((content / "README.md").read_text(), (content / "requirements.txt").read_text()) == ("content", f"{package}\n")
    assert "requirements.txt, postBuild of the content are left out" in built.text
    second = await home.build(home.job(url, repo.commit({"new.ipynb": "{}"}), environment=environment))
    assert second.exit.facts["reused"] == "yes", "new content, the same environment"


async def test_with_a_binder_directory_the_content_keeps_its_own_files(home: Ground, repo: Repo, served: GitServer, url: str) -> None:
    other = Repo.create(served.root, f"binder-{repo.path.name}")
    environment = Source("git", served.url(other.path.name), other.commit({"binder/requirements.txt": f"{fresh(home)}\n"}))
    commit = repo.commit({"setup.py": "raise SystemExit(1)\n", ".binder/apt.txt": "htop\n", "binder/postBuild": "exit 1"})
    assert names(tree(home, await home.build(home.job(url, commit, environment=environment)))) == [".git", "binder", "setup.py"]
    gone = await home.build(home.job(url, commit, environment=Source("git", environment.repo_url, "1" * 40, "main")))
    assert gone.exit.reason == "The environment repository: The repository has no commit 111111111111 on main any more."


async def test_a_private_repository_is_fetched_with_the_login_of_its_host_alone(
    home: Ground, repo: Repo, served: GitServer,
) -> None:
    commit = repo.commit({"a.txt": "1"})
    async with GitServer(served.root) as private, GitServer(served.root) as elsewhere:
        private.login = elsewhere.login = f"reader:{SECRET}"
        settings = {"DOCKYARD_PROVIDERS_GIT_CREDENTIALS": json.dumps({private.address: f"username=reader\\npassword={SECRET}"})}
        workshop = home.workshop(**settings)
        built = await home.build(home.job(private.url(repo.path.name), commit), workshop)
        assert (tree(home, built) / "a.txt").read_text() == "1"
        assert SECRET not in built.text
        private.faults[repo.path.name] = Fault(status=302, location=elsewhere.url(repo.path.name))
        led = await home.build(home.job(private.url(repo.path.name), commit), workshop)
        assert led.exit.reason == "127.0.0.1 refuses access to the repository."
        assert (await home.build(home.job(elsewhere.url(repo.path.name), commit), workshop)).exit.reason == led.exit.reason
        private.faults[repo.path.name], private.requests[:] = Fault(hang=True), []
        job, builder = home.job(private.url(repo.path.name), commit), LocalBuilder(workshop)
        await builder.start(job)
        async with asyncio.timeout(30):
            while not private.requests:
                await asyncio.sleep(0.02)
        try:
            assert not seen(home), "while it is fetched"
        finally:
            await builder.remove(job.handle)
    assert not seen(home)


def seen(home: Ground) -> list[str]:
    """Where the secret stands: files of the home, and the command lines of this machine."""
    walked = [Path(directory, name) for directory, _, files in os.walk(home.root) for name in files]
    found = []
    for path in [*walked, *Path("/proc").glob("[0-9]*/cmdline")]:
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode) and SECRET.encode() in path.read_bytes():
                found.append(str(path))
    return found
