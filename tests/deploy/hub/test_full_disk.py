"""A real hub whose disk takes nothing more for a while: nothing that it was doing then stays behind half done."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.hub.trivial_spawner import born
from services.errors import LaunchFailed, Overloaded, Unreachable
from services.hub import Hub
from tests.services.hub.hubserver import HubServer, running_hub
from tests.services.hub.test_spawn import Listener, gate, new_name, options, pid, until


@pytest.fixture
async def server() -> AsyncIterator[HubServer]:
    async with running_hub() as server:
        yield server


@contextlib.contextmanager
def full(server: HubServer) -> Iterator[None]:
    """No file of the hub grows any more, nor is any written to; what it has open it can read."""
    assert server.process is not None
    _, most = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, most))


async def ending(hub: Hub, name: str) -> None:
    """Until the hub ends the server of this user."""
    async with asyncio.timeout(60):
        while not ((user := await hub.user(name)) and user.server and user.server.pending == "stop"):
            await asyncio.sleep(0.05)


async def removed(hub: Hub, name: str) -> None:
    """What the reaper does with a user that no row knows of."""
    async with asyncio.timeout(60):
        while await hub.user(name) is not None:
            with contextlib.suppress(LaunchFailed, Overloaded, Unreachable):
                await hub.remove(name)
            await asyncio.sleep(0.1)


async def test_a_start_that_fails_meanwhile_comes_to_its_end(server: HubServer) -> None:
    name, heard, listener = new_name(), gate(server), Listener()
    async with Hub(server.settings) as hub:
        launch = asyncio.create_task(listener.spawn(hub, name, options(held=str(heard), fail="No room.", again="yes")))
        await until(lambda: len(listener.said) == 2)
        with full(server):
            heard.touch()
            await ending(hub, name)
            assert not launch.done()  # as long as its end is not written down, it has none
        with pytest.raises(LaunchFailed, match=r"^No room\.$"):
            await asyncio.wait_for(launch, 60)
        await removed(hub, name)
        await listener.spawn(hub, name, options())
        await removed(hub, name)


async def test_a_server_that_ends_meanwhile_is_let_go(server: HubServer) -> None:
    name = new_name()
    async with Hub(server.settings) as hub:
        await Listener().spawn(hub, name, options())
        with full(server):
            os.kill(int(pid(server, name)), signal.SIGKILL)
            await ending(hub, name)
        await removed(hub, name)
        await Listener().spawn(hub, name, options())
        await removed(hub, name)


async def test_a_server_that_was_started_but_not_written_down_does_not_stay(server: HubServer) -> None:
    name, heard, listener = new_name(), gate(server), Listener()
    started = server.directory / "hub" / f"{name}.pid"
    async with Hub(server.settings) as hub:
        launch = asyncio.create_task(listener.spawn(hub, name, options(mute=str(heard))))
        await until(lambda: started.exists() and started.read_text())
        process = int(started.read_text())
        with full(server):
            heard.touch()
            await until(lambda: not born(process))
            await ending(hub, name)
            assert not launch.done()
        with pytest.raises(Overloaded):  # which is no attempt
            await asyncio.wait_for(launch, 60)
        await removed(hub, name)


async def test_a_server_asked_for_meanwhile_comes_afterwards(server: HubServer) -> None:
    name, unknown = new_name(), new_name()
    async with Hub(server.settings) as hub:
        await hub.create_user(name)
        with full(server):
            with pytest.raises(Overloaded, match=r"^JupyterHub could not write its database\.$"):
                await Listener().spawn(hub, name, options())
            launch = asyncio.create_task(Listener().spawn(hub, unknown, options()))
            await until(lambda: hub.throttle.breaker.wait())
            async with Hub(server.settings) as other:
                assert await other.user(name) is not None  # it answers, and knows who asks
        await asyncio.wait_for(launch, 60)
        await removed(hub, name)
        await Listener().spawn(hub, name, options())
        for left in (name, unknown):
            await removed(hub, left)
