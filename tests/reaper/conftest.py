"""A mock hub and what tells launches, for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from bench.mock_hub import Hub as MockHub
from services.lifecycle import Teller
from services.settings import Settings
from tests.reaper.ground import a_teller, mock_hub


@pytest.fixture
async def mock() -> AsyncIterator[tuple[MockHub, str]]:
    async with mock_hub() as found:
        yield found


@pytest.fixture
async def teller(settings: Settings) -> AsyncIterator[Teller]:
    async with a_teller(settings) as found:
        yield found
