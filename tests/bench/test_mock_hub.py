"""The mock hub against our own hub client: what it stands in for is what the client speaks to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from bench.mock_hub import Behaviour, serve
from bench.mock_hub import Hub as MockHub
from services.errors import LaunchFailed, Unreachable
from services.hub.client import Hub, Started
from services.hub.models import UserOptions
from services.settings import HubSettings

OPTIONS = UserOptions("image", "token", "https://e.org/r", "", "", "", "", "127.0.0.1")


@asynccontextmanager
async def hub(behaviour: Behaviour, path: Path | None = None) -> AsyncIterator[Hub]:
    server = await serve(MockHub(behaviour), path=None if path is None else str(path))
    url = f"http+unix://{str(path).replace('/', '%2f')}/hub/api/"
    if path is None:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hub/api/"
    async with Hub(HubSettings(url=url, public_url="http://localhost:1/", token=SecretStr("t"))) as client:
        yield client
    server.close()
    await server.wait_closed()


async def messages(client: Hub, name: str) -> list[tuple[str, bool, bool]]:
    return [(step.message, step.ready, step.failed) async for step in client.progress(name)]


@pytest.mark.parametrize("unix", [False, True])
async def test_a_server_is_ready_at_once(unix: bool, tmp_path: Path) -> None:
    async with hub(Behaviour(), tmp_path / "hub.sock" if unix else None) as client:
        assert await client.version()
        assert await client.create_user("ada")
        assert not await client.create_user("ada")
        assert await client.start_server("ada", OPTIONS) is Started.READY
        assert await messages(client, "ada") == [
            ("Server requested", False, False), ("Spawning server...", False, False),
            ("Server ready at /user/ada/", True, False),
        ]
        user = await client.user("ada")
        assert user is not None
        assert user.server is not None
        assert (user.server.ready, user.server.url) == (True, "/user/ada/")
        assert await client.start_server("ada", OPTIONS) is Started.READY  # already there
        await client.remove("ada")
        assert await client.user("ada") is None


async def test_a_slow_server_is_pending_first() -> None:
    async with hub(Behaviour(delay=0.05)) as client:
        await client.create_user("ada")
        assert await client.start_server("ada", OPTIONS) is Started.PENDING
        # Streams of one hub do not wait for each other, nor other calls for them.
        both = await asyncio.gather(messages(client, "ada"), messages(client, "ada"))
        assert [steps[-1][1] for steps in both] == [True, True]


async def test_every_second_server_fails() -> None:
    async with hub(Behaviour(fail_every=2)) as client:
        for name in ("ada", "bob"):
            await client.create_user(name)
        assert await client.start_server("ada", OPTIONS) is Started.READY
        assert await client.start_server("bob", OPTIONS) is Started.PENDING
        assert (await messages(client, "bob"))[-1] == ("told to", False, True)


async def test_every_second_start_is_refused() -> None:
    async with hub(Behaviour(refuse_every=2)) as client:
        for name in ("ada", "bob"):
            await client.create_user(name)
        await client.start_server("ada", OPTIONS)
        with pytest.raises((Unreachable, LaunchFailed)):
            await client.start_server("bob", OPTIONS)


async def test_users_come_in_pages() -> None:
    async with hub(Behaviour()) as client:
        names = [f"user-{n:03}" for n in range(450)]
        for name in names:
            await client.create_user(name)
        await client.start_server("user-003", OPTIONS)
        assert [user.name async for user in client.users()] == names
        assert [user.name async for user in client.users(active=True)] == ["user-003"]
