"""The client and the real processes: what one says the other understands, also when the api dies in between."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dockyard_client import AsyncClient, Event, Invalid, NotFound, Unauthorized
from services.settings import Settings
from tests.stack import ADMIN, Stack, spec

pytestmark = pytest.mark.slow


@pytest.fixture
async def stack(settings: Settings, tmp_path: Path) -> AsyncIterator[Stack]:
    async with Stack(settings, tmp_path, DOCKYARD_LEASES_SECONDS="60") as found:
        await found.up()
        yield found


def wanted(script: str) -> dict[str, str]:
    provider, _, rest = spec(script).partition("/")
    return {"provider": provider, "spec": rest}


def lines(events: list[Event]) -> list[str]:
    return [event.message for event in events if event.message.startswith("line ")]


async def test_the_life_of_a_launch(stack: Stack) -> None:
    async with AsyncClient(f"http://127.0.0.1:{stack.port}") as client:
        once = {**wanted("lines-5+slow-0.3"), "urlpath": "lab", "idempotency_key": "once-and-for-all"}
        made = await client.launches.create(**once)
        assert (await client.launches.create(**once)).id == made.id
        events = [event async for event in client.launches.events(made.id)]
        assert lines(events) == [f"line {n} of 5\n" for n in range(1, 6)]
        assert events[-1].state == "ready"
        launch = await client.launches.wait(made.id)
        assert launch.location == f"{launch.url}lab?token={launch.token}"
        assert set(launch.timings) >= {"building", "launching", "ready"}
        assert [event async for event in client.launches.events(made.id, events[-1].id)] == []
        assert launch.build is not None
        build = await client.builds.get(launch.build)
        assert (build.state, build.lines) == ("built", 5)
        assert await client.builds.log(launch.build) == "".join(lines(events))
        assert lines([event async for event in client.builds.events(launch.build)]) == lines(events)
        await client.launches.stop(made.id)
        while (await client.launches.get(made.id)).state != "stopped":
            await asyncio.sleep(0.05)


async def test_what_only_an_admin_sees(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.port}"
    async with AsyncClient(url) as anybody, AsyncClient(url, ADMIN) as admin:
        made = [await anybody.launches.create(**wanted("lines-1+slow-0")) for _ in range(3)]
        for launch in made:
            assert (await anybody.launches.wait(launch.id)).state == "ready"
        with pytest.raises(Unauthorized):
            await anybody.launches.list()
        first = await admin.launches.list(limit=2)
        assert first.next
        rest = await admin.launches.list(limit=2, cursor=first.next)
        assert {launch.id for launch in (*first.items, *rest.items)} == {launch.id for launch in made}
        assert [build.state async for build in admin.builds.each()] == ["built"]
        assert {server.launch async for server in admin.servers.each()} == {launch.id for launch in made}
        assert (await admin.stats()).launches == {"ready": 3}


async def test_refusals_are_exceptions(stack: Stack) -> None:
    async with AsyncClient(f"http://127.0.0.1:{stack.port}") as client:
        with pytest.raises(NotFound) as caught:
            await client.launches.get("0" * 32)
        assert (caught.value.code, caught.value.status) == ("not_found", 404)
        assert caught.value.detail
        with pytest.raises(Invalid):
            await client.launches.create(provider="gh", spec="only-one-part")


async def test_a_failed_launch_has_its_reason(stack: Stack) -> None:
    async with AsyncClient(f"http://127.0.0.1:{stack.port}") as client:
        made = await client.launches.create(**wanted("lines-2+slow-0+fail"))
        launch = await client.launches.wait(made.id)
    assert launch.state == "failed"
    assert launch.reason is not None
    assert launch.reason.code == "build_failed"


async def test_the_api_dies_while_a_stream_is_read(stack: Stack) -> None:
    async with AsyncClient(f"http://127.0.0.1:{stack.port}") as client:
        events = []
        async for event in client.binder(*spec("lines-40+slow-2").split("/", 1)):
            events.append(event)
            if len(lines(events)) in (5, 20) and lines(events[-1:]):
                await stack.kill("api")
                stack.start("api")
    assert lines(events) == [f"line {n} of 40\n" for n in range(1, 41)]
    assert (events[-1].phase, len({event.id for event in events})) == ("ready", len(events))
    assert (await stack.query("SELECT count(*) AS n FROM launch"))[0].n == 1
