"""The front door and a client that speaks to it without a network."""

from collections.abc import AsyncIterator

import httpx
import pytest

from api import metrics as of_api
from api.ops import picture
from api.routes import health
from services.observe import metrics
from services.settings import Settings
from tests.api.front import Front


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers is found to answer, however long that takes here."""
    for module in (health, picture, of_api, metrics):
        monkeypatch.setattr(module, "_PATIENCE", 120.0)


@pytest.fixture
async def front(settings: Settings) -> AsyncIterator[Front]:
    """An api process on this test's database."""
    found = Front(settings)
    yield found
    await found.aclose()


@pytest.fixture
async def http(front: Front) -> AsyncIterator[httpx.AsyncClient]:
    """A program on this machine: it sends neither Origin nor Sec-Fetch-Site."""
    transport = httpx.ASGITransport(app=front.app, client=("127.0.0.1", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        yield client
