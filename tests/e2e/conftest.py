"""One set of processes on the fake runtime for the tests that leave it whole."""

import secrets
from collections.abc import AsyncIterator

import pytest

from tests.stack import Stack, own_settings


@pytest.fixture(scope="package")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    private = {"DOCKYARD_EGRESS_PRIVATE": "true"}  # for git servers of these tests
    async with own_settings(tmp_path_factory.mktemp("flow")) as (settings, directory), Stack(settings, directory, **private) as found:
        await found.up("api", "worker", "launcher")
        yield found


@pytest.fixture
def name() -> str:
    """A word for the repository of one test; scripts ignore it."""
    return f"of-{secrets.token_hex(4)}"
