"""Both clients behind one face, so that every test holds for both."""

import asyncio
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Any

import pytest

from dockyard_client import AsyncClient, Client


class Blocking:
    """`Client`, in a thread."""

    async def result(self, url: str, verb: str, *args: Any, token: str | None = None, **kwargs: Any) -> Any:
        def work() -> Any:
            with Client(url, token) as client:
                return attrgetter(verb)(client)(*args, **kwargs)

        return await asyncio.to_thread(work)

    async def items(self, url: str, verb: str, *args: Any, **kwargs: Any) -> list[Any]:
        def work() -> list[Any]:
            with Client(url) as client:
                return list(attrgetter(verb)(client)(*args, **kwargs))

        return await asyncio.to_thread(work)


class Asynchronous:
    """`AsyncClient`."""

    async def result(self, url: str, verb: str, *args: Any, token: str | None = None, **kwargs: Any) -> Any:
        async with AsyncClient(url, token) as client:
            return await attrgetter(verb)(client)(*args, **kwargs)

    async def items(self, url: str, verb: str, *args: Any, **kwargs: Any) -> list[Any]:
        async with AsyncClient(url) as client:
            return [item async for item in attrgetter(verb)(client)(*args, **kwargs)]


Colour = Blocking | Asynchronous
Use = Callable[..., Awaitable[Any]]


@pytest.fixture(params=[Blocking, Asynchronous])
def colour(request: pytest.FixtureRequest) -> Colour:
    return request.param()
