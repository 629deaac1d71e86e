"""Fetching: exactly the commit, within limits, and every way to fail with a sentence of its own."""

import subprocess
from pathlib import Path

import pytest

from services.runtimes.local.steps.checkout import CONFIG
from tests.gitrepo import GIT_ENV, Executable, Repo, Symlink
from tests.gitserver import Fault, GitDaemon, GitServer
from tests.services.runtimes.local.ground import Built, Ground


async def content(home: Ground, built: Built) -> Path:
    assert built.exit.ok, built.text + built.exit.reason
    return home.workshop().images.open(built.job.image).content


async def test_exactly_the_commit_is_checked_out(home: Ground, repo: Repo, url: str) -> None:
    first = repo.commit({"a": "1", "run": Executable("#!/bin/sh\n"), "Case": "x", "case": "y", "link": Symlink("a")})
    repo.commit({"a": "2"})
    tree = await content(home, await home.build(home.job(url, first, ref="main")))
    assert ((tree / "a").read_text(), (tree / "Case").read_text(), (tree / "case").read_text()) == ("1", "x", "y")
    assert (tree / "run").stat().st_mode & 0o111
    assert (tree / "link").is_symlink()
    log = subprocess.check_output(["git", "-c", "safe.directory=*", "log", "--format=%H"], cwd=tree, env=GIT_ENV, text=True)
    assert log.split() == [first], "no history"


async def test_a_server_that_gives_out_no_single_commits(home: Ground, repo: Repo, served: GitServer) -> None:
    """The branch is fetched instead, deep enough for the commit, and never its newer tip."""
    first = repo.commit({"a": "1"})
    for number in range(3):
        repo.commit({"a": str(number)})
    async with GitServer(served.root, protocols=False) as old:
        built = await home.build(home.job(old.url(repo.path.name), first, ref="main"))
    assert "The server does not give out single commits; fetching main with its history." in built.text
    assert ((await content(home, built)) / "a").read_text() == "1"


async def test_git_protocol_goes_through_the_proxy_too(home: Ground, repo: Repo, served: GitServer) -> None:
    commit = repo.commit({"a": "1"})
    with GitDaemon(served.root) as daemon:
        built = await home.build(home.job(daemon.url(repo.path.name), commit))
    assert ((await content(home, built)) / "a").read_text() == "1"


async def test_submodules(home: Ground, repo: Repo, served: GitServer, url: str) -> None:
    other = Repo.create(served.root, f"sub-{repo.path.name}")
    inner = other.commit({"inner": "x"})
    other.commit({"inner": "newer"})
    commit = repo.submodule("sub", served.url(other.path.name), inner)
    assert ((await content(home, await home.build(home.job(url, commit)))) / "sub/inner").read_text() == "x"


@pytest.mark.parametrize(("address", "reason"), [
    ("file:///etc", "A submodule could not be fetched: It uses a protocol that is not allowed; http, https and git are."),
    ("ext::sh -c id", "A submodule could not be fetched: It uses a protocol that is not allowed; http, https and git are."),
    ("ssh://git@127.0.0.1/x", "A submodule could not be fetched: It uses a protocol that is not allowed; http, https and git are."),
    ("http://127.0.0.1:9/x", "A submodule could not be fetched: 127.0.0.1 is closed to links (port 9)."),
    ("http://169.254.169.254/x", "A submodule could not be fetched: 169.254.169.254 is a link-local address"),
])
async def test_submodules_lead_nowhere_else(address: str, reason: str, home: Ground, repo: Repo, url: str) -> None:
    built = await home.build(home.job(url, repo.submodule("sub", address, "1" * 40)))
    assert not built.exit.ok
    assert built.exit.reason.replace("The submodule sub", "A submodule").startswith(reason), built.exit.reason


@pytest.mark.parametrize(("fault", "reason", "retryable"), [
    (Fault(status=404), "There is no repository at this address on 127.0.0.1.", False),
    (Fault(status=401), "127.0.0.1 refuses access to the repository.", False),
    (Fault(status=403), "127.0.0.1 refuses access to the repository.", False),
    (Fault(status=500), "127.0.0.1 cannot be reached", True),
    (Fault(status=302, location="http://169.254.169.254"), "127.0.0.1 redirects to an address that may not be fetched.", False),
])
async def test_servers_that_refuse(
    fault: Fault, reason: str, retryable: bool, home: Ground, repo: Repo, served: GitServer, url: str
) -> None:
    commit = repo.commit({"a": "1"})
    served.faults[repo.path.name] = fault
    built = await home.build(home.job(url, commit), home.workshop(DOCKYARD_BUILDS_PATIENCE="0"))
    assert built.exit.reason.startswith(reason), built.exit.reason
    assert built.exit.retryable == retryable


async def test_a_forge_that_is_away_for_a_moment_is_waited_for(home: Ground, repo: Repo, served: GitServer, url: str) -> None:
    commit = repo.commit({"a": "1"})
    served.faults[repo.path.name] = Fault(status=503, times=2)
    built = await home.build(home.job(url, commit))
    assert built.exit.ok, built.exit.reason
    assert sum("Trying again" in line.message for line in built.lines) >= 1


@pytest.mark.parametrize(("address", "commit", "reason"), [
    ("http://127.0.0.1:9/x.git", "1" * 40, "127.0.0.1 is closed to links (port 9)."),
    ("http://169.254.169.254/x.git", "1" * 40, "169.254.169.254 is a link-local address, and those are never connected to."),
    ("http://no-such-host.invalid/x.git", "1" * 40, "no-such-host.invalid cannot be reached"),
    ("file:///etc", "1" * 40, "Only http, https and git addresses can be fetched."),
    ("http://127.0.0.1:80/x.git", "--upload-pack=id", "'--upload-pack=id' is not the id of a commit."),
])
async def test_addresses_that_cannot_be_fetched(address: str, commit: str, reason: str, home: Ground) -> None:
    built = await home.build(home.job(address, commit), home.workshop(DOCKYARD_BUILDS_PATIENCE="0"))
    assert built.exit.reason.startswith(reason), built.exit.reason


async def test_a_commit_that_is_not_there(home: Ground, repo: Repo, url: str) -> None:
    repo.commit({"a": "1"})
    built = await home.build(home.job(url, "1" * 40, ref="main"))
    assert built.exit.reason == "The repository has no commit 111111111111 on main any more."


@pytest.mark.parametrize("files", [
    {"big": "x" * (6 << 20)},  # small when packed: found before it is checked out
    {f"f{number}": f"{number}" * (1 << 20) for number in range(6)},
])
async def test_a_repository_over_the_limit(files: dict[str, str], home: Ground, repo: Repo, url: str) -> None:
    built = await home.build(home.job(url, repo.commit(dict(files))), home.workshop(DOCKYARD_LOCAL_REPOSITORY_BYTES=str(5 << 20)))
    assert built.exit.reason == "The repository is bigger than 5 MiB, the most that is fetched here."


async def test_a_server_that_never_answers(home: Ground, repo: Repo, served: GitServer, url: str) -> None:
    commit = repo.commit({"a": "1"})
    served.faults[repo.path.name] = Fault(hang=True)
    built = await home.build(home.job(url, commit), home.workshop(DOCKYARD_LOCAL_FETCH_TIMEOUT="1"))
    assert (built.exit.reason, built.exit.retryable) == ("Fetching the repository took more than 1 seconds and was given up.", True)


async def test_hooks_and_filters_of_a_repository_do_not_run(home: Ground, repo: Repo, url: str) -> None:
    config = '[filter "evil"]\nsmudge = touch /home/jovyan/ran\n'
    commit = repo.commit({".gitattributes": "* filter=evil\n", ".gitconfig": config, "a": "1"})
    tree = await content(home, await home.build(home.job(url, commit)))
    assert sorted(path.name for path in tree.iterdir()) == [".git", ".gitattributes", ".gitconfig", "a"]
    assert "core.hooksPath=/dev/null" in CONFIG
