"""One attempt after another against a real hub, with kills and failures in between."""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.errors import ImageVanished, LaunchFailed, LeaseLost, Overloaded, Unreachable
from services.hub import Hub, Started, UserOptions, follow, spawn
from services.hub.spawn import patiently
from tests.services.hub.hubserver import HubServer


def options(**extra: Any) -> UserOptions:
    return UserOptions(
        image="r2d-repo:1", token="a-token", repo_url="https://example.org/repo", binder_ref_url="https://example.org/repo/tree/1",
        binder_launch_host="http://localhost:8000/", binder_request="v2/gh/o/r/HEAD", binder_persistent_request="v2/gh/o/r/1",
        binder_client_ip="127.0.0.1", extra=extra,
    )


def new_name() -> str:
    return f"s-{secrets.token_hex(8)}"


def gate(server: HubServer) -> Path:
    """What a server waits for with the options `held` or `mute`; it is opened with `touch`."""
    return server.directory / f"gate-{secrets.token_hex(8)}"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.02)


class Listener:
    """What a launcher does with the messages of a spawn."""

    def __init__(self, stop_after: int = 0, owner: bool = True) -> None:
        self.said: list[str] = []
        self.heard = asyncio.Event()
        self.stop_after, self.owner = stop_after, owner

    async def say(self, message: str) -> None:
        self.said.append(message)
        self.heard.set()
        if len(self.said) == self.stop_after:
            raise LeaseLost("Somebody else owns this launch now.")

    async def own(self) -> None:
        if not self.owner:
            raise LeaseLost("Somebody else owns this launch now.")

    async def spawn(self, hub: Hub, name: str, user_options: UserOptions, seconds: float = 300.0) -> str:
        return await spawn(hub, name, user_options, seconds=seconds, say=self.say, own=self.own)


def pid(server: HubServer, name: str) -> str:
    """The server's process, as the trivial server tells it."""
    return (server.directory / "hub" / f"{name}.pid").read_text()


async def test_server_starts_and_is_removed(hub: Hub, shared_server: HubServer) -> None:
    name, listener, heard = new_name(), Listener(), gate(shared_server)
    async with asyncio.TaskGroup() as tasks:  # a server that runs has no more to tell
        task = tasks.create_task(listener.spawn(hub, name, options(steps=3, held=str(heard))))
        await until(lambda: len(listener.said) == 4)
        heard.touch()
    url = task.result()
    assert url == f"http://hub.test/user/{name}/"
    assert listener.said == ["Server requested", "Step 1.", "Step 2.", "Step 3."]
    user = await hub.user(name)
    assert user is not None
    assert user.server is not None
    assert user.server.ready
    assert user.server.started is not None
    assert (await hub.routes())[f"/user/{name}/"].startswith("http+unix://%2f")
    await hub.remove(name)
    assert await hub.user(name) is None
    assert f"/user/{name}/" not in await hub.routes()
    await hub.remove(name)


async def test_running_and_starting_servers_are_adopted(hub: Hub, shared_server: HubServer) -> None:
    name = new_name()
    await Listener().spawn(hub, name, options())
    first = pid(shared_server, name)
    assert not await hub.create_user(name)
    assert await hub.start_server(name, options()) is Started.READY
    assert await Listener().spawn(hub, name, options()) == hub.address(name)
    assert pid(shared_server, name) == first
    await hub.remove(name)

    name, killed, adopting, heard = new_name(), Listener(), Listener(), gate(shared_server)
    task = asyncio.create_task(killed.spawn(hub, name, options(held=str(heard))))
    await until(killed.heard.is_set)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert await hub.start_server(name, options()) is Started.PENDING
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(adopting.spawn(hub, name, options()))
        await until(adopting.heard.is_set)
        heard.touch()
    assert task.result() == hub.address(name)
    await hub.remove(name)


async def test_lost_lease_leaves_the_server_to_the_new_owner(hub: Hub, shared_server: HubServer) -> None:
    name, lost = new_name(), gate(shared_server)
    with pytest.raises(LeaseLost):
        await Listener(stop_after=1).spawn(hub, name, options(held=str(lost)))
    lost.touch()
    assert await Listener().spawn(hub, name, options()) == hub.address(name)
    await hub.remove(name)
    with pytest.raises(LeaseLost):
        await Listener(owner=False).spawn(hub, name, options(fail="It is broken.", delay=0.2))
    assert await hub.user(name) is not None
    await hub.remove(name)


@pytest.mark.parametrize("delay", [0, 0.3])
async def test_failure_is_told_in_words_and_cleaned_up(hub: Hub, delay: float) -> None:
    name = new_name()
    with pytest.raises(LaunchFailed, match=r"^The start script ended with status 3 & <b>\.$") as caught:
        await Listener().spawn(hub, name, options(fail="The start script ended with status 3 & <b>.", delay=delay))
    assert not caught.value.retryable
    assert await hub.user(name) is None

    with pytest.raises(LaunchFailed) as caught:
        await Listener().spawn(hub, name, options(fail="No room.", again="yes", delay=delay))
    assert caught.value.retryable
    with pytest.raises(ImageVanished, match=r"^The image is gone\.$"):
        await Listener().spawn(hub, name, options(fail="The image is gone.", vanished="yes", delay=delay))


async def test_deadline_ends_the_attempt(hub: Hub, shared_server: HubServer) -> None:
    name = new_name()
    with pytest.raises(LeaseLost):
        await Listener(stop_after=1).spawn(hub, name, options(held=str(gate(shared_server))))
    with pytest.raises(LaunchFailed, match=r"within 1 seconds") as caught:
        await Listener().spawn(hub, name, options(), seconds=1)
    assert caught.value.retryable
    assert await hub.user(name) is None


async def test_a_server_that_never_comes_to_its_end_costs_an_attempt(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_: object) -> Started:
        return Started.BUSY

    monkeypatch.setattr(sys.modules["services.hub.spawn"], "_BUSY", 0.3)
    monkeypatch.setattr(hub, "start_server", busy)
    name = new_name()
    with pytest.raises(LaunchFailed, match="does not end an earlier server") as caught:
        await Listener().spawn(hub, name, options())
    assert caught.value.retryable
    assert await hub.user(name) is None


async def test_full_hub_says_when_to_come_back(hub: Hub, shared_server: HubServer) -> None:
    names, full = [new_name() for _ in range(15)], gate(shared_server)
    tasks = [asyncio.create_task(Listener().spawn(hub, name, options(held=str(full)))) for name in names]
    try:
        await until(lambda: sum(task.done() for task in tasks) == 5)
    finally:
        full.touch()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Overloaded)]
    assert len(refused) == 5  # the limit of these tests is 10
    assert all(error.retry_after >= 1 and error.retryable for error in refused)
    assert sum(isinstance(result, str) for result in results) == 10
    await asyncio.gather(*(hub.remove(name) for name in names))


async def test_all_users_are_listed_page_by_page(hub: Hub) -> None:
    names = [new_name() for _ in range(205)]  # a page has 200 at most
    for name in names:
        await hub.create_user(name)
    listed = [user.name async for user in hub.users()]
    assert len(listed) == len(set(listed))
    assert set(names) <= set(listed)
    await hub.start_server(names[7], options())
    async for step in follow(hub, names[7]):
        ready = step.ready
    assert ready
    assert [user.name async for user in hub.users(active=True)] == [names[7]]
    await hub.remove(names[7])


async def test_user_of_a_pending_server_can_be_removed(hub: Hub) -> None:
    name = new_name()
    await hub.create_user(name)
    assert await hub.start_server(name, options(delay=20)) is Started.PENDING
    await hub.remove(name)
    assert await hub.user(name) is None


async def test_hub_killed_in_mid_spawn_costs_no_attempt(own_server: HubServer) -> None:
    """The process is started and stored when the hub dies; the next hub waits for it and the launch never notices."""
    async with Hub(own_server.settings) as hub:
        steady, mid = new_name(), new_name()
        await Listener().spawn(hub, steady, options())
        first = pid(own_server, steady)
        listener = Listener()
        restarted = gate(own_server)
        task = asyncio.create_task(listener.spawn(hub, mid, options(mute=str(restarted))))
        await until(listener.heard.is_set)
        while not (user := await hub.user(mid)) or not (own_server.directory / "hub" / f"{mid}.pid").exists():
            await asyncio.sleep(0.02)
        assert user.server is not None
        assert user.server.pending == "spawn"
        await own_server.kill()
        await own_server.start()
        restarted.touch()
        assert await task == hub.address(mid)
        assert listener.said.count("Server requested") == 1
        assert pid(own_server, steady) == first
        assert {f"/user/{steady}/", f"/user/{mid}/"} <= (await hub.routes()).keys()


async def test_a_hub_that_forgets_a_server_over_its_restart_has_failed_no_attempt(own_server: HubServer) -> None:
    async with Hub(own_server.settings) as hub:
        name, listener = new_name(), Listener()
        task = asyncio.create_task(listener.spawn(hub, name, options(held=str(gate(own_server)))))
        await until(listener.heard.is_set)
        await own_server.kill()
        await own_server.start()
        with pytest.raises(Unreachable, match="forgotten"):
            await task
        assert await hub.user(name)  # whoever has the launch next asks for the same server again


async def test_absent_hub_is_unreachable(own_server: HubServer) -> None:
    await own_server.kill()
    async with Hub(own_server.settings) as hub:
        with pytest.raises(Unreachable, match="JupyterHub does not answer"):
            await hub.version()
        with pytest.raises(Unreachable):
            await patiently(hub.version, seconds=0.3)
