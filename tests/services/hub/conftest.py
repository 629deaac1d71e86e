"""Hubs for the tests of this folder: one that they share, and one for those that kill it."""

from collections.abc import AsyncIterator

import pytest

from services.hub import Hub
from tests.services.hub.hubserver import HubServer, running_hub


@pytest.fixture(scope="session")
async def shared_server() -> AsyncIterator[HubServer]:
    async with running_hub() as server:
        yield server


@pytest.fixture
async def hub(shared_server: HubServer) -> AsyncIterator[Hub]:
    async with Hub(shared_server.settings) as hub:
        yield hub


@pytest.fixture
async def own_server() -> AsyncIterator[HubServer]:
    async with running_hub() as server:
        yield server
