"""A registry that is away, slow, or answers anything but what was asked: unknown, never absent; and it is not stormed."""

import asyncio
import time

import pytest

from services.errors import DockyardError, Forbidden, Misconfigured, RateLimited, Unreachable
from services.registry import Reference, Registry
from services.runtimes.base import Presence
from services.runtimes.docker.images import RegistryImages
from services.settings import RegistrySettings
from tests.registryserver import door

IMAGE = Reference.parse("binder/r2d-x:one")


@pytest.mark.parametrize(("status", "error", "retryable"), [
    (401, Misconfigured, False), (403, Forbidden, False), (429, RateLimited, True), (500, Unreachable, True), (502, Unreachable, True),
    (503, Unreachable, True),
])
async def test_whatever_it_answers_instead_is_not_absence(status: int, error: type[DockyardError], retryable: bool) -> None:
    async with door() as found, Registry(RegistrySettings(url=found.url)) as client:
        found.status = status
        with pytest.raises(error) as caught:
            await client.digest(IMAGE)
        assert (type(caught.value), caught.value.retryable) == (error, retryable)
        assert "image registry" in caught.value.sentence
        if retryable:
            images = RegistryImages(client, None)  # type: ignore[arg-type]
            assert await images.exists("binder/r2d-x:one") is Presence.UNKNOWN
        found.status = 200
        assert await client.digest(IMAGE) == "sha256:1"
        found.status = 404
        assert await client.digest(IMAGE) is None


async def test_a_404_of_something_else_at_its_address_is_not_absence() -> None:
    async with door() as found, Registry(RegistrySettings(url=found.url)) as client:
        found.status = found.ping = 404
        for ask in (
            client.digest(IMAGE), client.manifest(IMAGE), client.delete(IMAGE), client.blob("binder/r2d-x", "sha256:1"),
            client.has_blob("binder/r2d-x", "sha256:1"),
        ):
            with pytest.raises(Unreachable, match="something else answers"):
                await ask
        images = RegistryImages(client, None)  # type: ignore[arg-type]
        assert await images.exists("binder/r2d-x:one") is Presence.UNKNOWN
        found.ping = 401
        assert await client.digest(IMAGE) is None


async def test_one_that_is_away_is_asked_once_in_a_while_and_found_again() -> None:
    async with door() as found, Registry(RegistrySettings(url=found.url)) as client:
        found.status, now = 503, time.monotonic()
        breaker = client._connection._breaker
        breaker._now = lambda: now  # all of them in one moment
        for _ in range(50):
            with pytest.raises(Unreachable):
                await client.digest(IMAGE)
        assert found.asked <= 7
        with pytest.raises(Unreachable, match="It is asked again in"):
            await client.digest(IMAGE)
        found.status, breaker._now = 200, time.monotonic
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await client.digest(IMAGE) == "sha256:1"
                    break
                except Unreachable:
                    await asyncio.sleep(0.05)


async def test_one_that_does_not_answer_costs_no_launch_more_than_its_time_out() -> None:
    async with door() as found, Registry(RegistrySettings(url=found.url, timeout=0.2)) as client:
        found.hang = True
        with pytest.raises(Unreachable, match="it takes too long"):
            await client.digest(IMAGE)
