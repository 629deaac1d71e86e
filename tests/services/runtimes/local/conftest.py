"""One home for the tests of this folder, git repositories that are really served, and the reason where nothing can run."""

import os
from collections.abc import Iterator

import pytest

from services.runtimes.local.probe import probe
from tests.gitrepo import Repo
from tests.gitserver import GitServer
from tests.services.runtimes.local.ground import Ground, ground


@pytest.fixture(scope="session")
def sandboxes() -> None:
    """Skip where the machine cannot make a sandbox."""
    found = probe()
    if not found.sandbox:
        pytest.skip(f"no sandboxes: {found.why}")


@pytest.fixture(scope="session")
def home(sandboxes: None) -> Iterator[Ground]:
    with ground() as found:
        yield found


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer(tmp_path_factory.mktemp("repositories")) as server:
        yield server


@pytest.fixture
def repo(served: GitServer, request: pytest.FixtureRequest) -> Repo:
    """An empty repository of this test; its address is `address(served, repo)`."""
    return Repo.create(served.root, f"{request.node.name.split('[')[0]}-{os.urandom(4).hex()}.git")


@pytest.fixture
def url(served: GitServer, repo: Repo) -> str:
    return served.url(repo.path.name)
