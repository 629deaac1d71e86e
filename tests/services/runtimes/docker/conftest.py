"""One registry and one git server for the folder; what needs an engine is skipped, with the reason, where there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gitserver import GitServer
from tests.registryserver import RegistryServer, registry
from tests.services.runtimes.docker import lab


@pytest.fixture(scope="session")
def bench() -> None:
    """The engine with the build image."""
    why = lab.reason()
    if why:
        pytest.skip(why)
    lab.build_image()


@pytest.fixture(scope="session")
def store(bench: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("store")) as found:
        yield found
    lab.forget(found.host)


@pytest.fixture(scope="session")
def repositories(bench: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, GitServer]]:
    root = tmp_path_factory.mktemp("repositories")
    with GitServer(root, host=lab.gateway()) as server:
        yield root, server
