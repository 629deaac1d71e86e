"""Launches through all processes, on the fake runtime: what a client sees, whatever dies on the way."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.settings import Settings
from tests.stack import Stack, log_of, spec


@pytest.fixture
async def stack(settings: Settings, tmp_path: Path) -> AsyncIterator[Stack]:
    async with Stack(settings, tmp_path) as found:
        yield found


async def _count(stack: Stack, table: str) -> int:
    return (await stack.query(f"SELECT count(*) AS n FROM {table}"))[0].n


async def test_a_new_commit_is_built_once_and_found_afterwards(stack: Stack) -> None:
    await stack.up()
    first = await stack.launch(spec("lines-7+slow-0.5"))
    assert [event["phase"] for event in first if "kind" in event] == ["waiting", "waiting", "waiting", "built", "launching", "ready"]
    assert log_of(first) == [f"line {n} of 7\n" for n in range(1, 8)]
    assert first[-1]["url"].endswith("/")
    assert len(first[-1]["token"]) == 22
    second = await stack.launch(spec("lines-7+slow-0.5"))
    assert [event["phase"] for event in second] == ["built", "launching", "ready"]
    assert second[-1]["token"] != first[-1]["token"]
    assert await _count(stack, "build") == 1
    for row in await stack.query("SELECT seq, (SELECT count(*) FROM event WHERE launch = id) AS n FROM launch"):
        assert row.seq == row.n
    tokens = {first[-1]["token"], second[-1]["token"]}
    dump = str([[dict(row._mapping) for row in await stack.query(f"SELECT * FROM {name}")] for name in ("launch", "event", "server")])
    assert not any(token in dump for token in tokens)


async def test_many_clients_of_one_new_commit_share_one_build(stack: Stack) -> None:
    await stack.up()
    results = await asyncio.gather(*[stack.launch(spec("lines-20+slow-1.5")) for _ in range(30)])
    assert all(events[-1]["phase"] == "ready" for events in results)
    assert all(log_of(events) == [f"line {n} of 20\n" for n in range(1, 21)] for events in results)
    assert await _count(stack, "build") == 1
    assert len({events[-1]["url"] for events in results}) == 30


async def test_a_failed_build_says_why_once_and_keeps_its_log(stack: Stack) -> None:
    await stack.up()
    events = await stack.launch(spec("lines-3+slow-0+fail"))
    assert [event for event in events if event["phase"] == "failed"] == [events[-1]]
    assert events[-1]["message"] == "The repository cannot be built. Mend it.\n"
    assert events[-1]["reason"]["code"] == "build_failed"
    build = next(event["build"] for event in events if event.get("kind") == "building")
    assert (await stack.query("SELECT lines FROM build WHERE id = :id", id=build))[0].lines == 3


async def test_a_builder_that_falls_over_is_tried_again(stack: Stack) -> None:
    await stack.up()
    events = await stack.launch(spec("lines-2+slow-0+crash-1"))
    assert events[-1]["phase"] == "ready"
    row = (await stack.query("SELECT attempt, state FROM build"))[0]
    assert (row.attempt, row.state) == (2, "built")
    assert any("Trying again" in line for line in log_of(events))


async def test_a_builder_that_always_falls_over_fails_with_its_reason(stack: Stack) -> None:
    stack.environment["DOCKYARD_BUILDS_ATTEMPTS"] = "2"
    await stack.up()
    events = await stack.launch(spec("lines-2+slow-0+crash-9"))
    assert events[-1]["phase"] == "failed"
    assert events[-1]["message"].startswith("The builder fell over.")


async def test_one_environment_is_made_once_for_two_commits(stack: Stack) -> None:
    await stack.up()
    other = "f" * 40
    results = await asyncio.gather(
        stack.launch(spec("env-abc+lines-4+slow-1")), stack.launch(spec("env-abc+lines-4+slow-1", other)))
    assert [events[-1]["phase"] for events in results] == ["ready", "ready"]
    rows = await stack.query("SELECT makes_environment AS makes, environment FROM build ORDER BY makes_environment")
    assert [(row.makes, row.environment) for row in rows] == [(False, "abc"), (True, "abc")]


async def test_a_cut_stream_is_resumed_without_loss_or_second_launch(stack: Stack) -> None:
    await stack.up()
    path = spec("lines-40+slow-2")
    seen = []
    async with stack.stream(path) as stream:
        async for event in stream:
            seen.append(event)
            if len(log_of(seen)) == 13:
                break
    async with stack.stream(path, last=seen[-1]["id"]) as stream:
        seen += [event async for event in stream]
    assert log_of(seen) == [f"line {n} of 40\n" for n in range(1, 41)]
    assert seen[-1]["phase"] == "ready"
    assert len({event["id"] for event in seen}) == len(seen)
    assert await _count(stack, "launch") == 1
    async with stack.stream(path, last=seen[-1]["id"]) as stream:
        assert stream.response.status_code == 204
    assert await _count(stack, "launch") == 1


async def test_a_late_watcher_gets_the_log_from_line_one(stack: Stack) -> None:
    await stack.up()
    async with stack.stream(spec("lines-30+slow-1.5")) as first:
        await first.until(lambda event: event["message"] == "line 15 of 30\n")
        late = await stack.launch(spec("lines-30+slow-1.5"))
    assert log_of(late) == [f"line {n} of 30\n" for n in range(1, 31)]


async def test_the_worker_killed_in_mid_build_is_replaced_and_nothing_shows(stack: Stack) -> None:
    await stack.up()
    async with stack.stream(spec("lines-40+slow-3")) as stream:
        seen = [await stream.until(lambda event: event["message"] == "line 10 of 40\n")]
        await stack.kill("worker")
        stack.start("worker")
        seen += [event async for event in stream]
    assert log_of(seen) == [f"line {n} of 40\n" for n in range(10, 41)]
    assert seen[-1]["phase"] == "ready"
    row = (await stack.query("SELECT attempt, epoch FROM build"))[0]
    assert row.attempt == 1
    assert row.epoch >= 2


async def test_a_paused_worker_cannot_write_after_another_took_over(stack: Stack) -> None:
    await stack.up()
    stack.start("second", "worker")
    async with stack.stream(spec("lines-40+slow-4")) as stream:
        seen = [await stream.until(lambda event: event["message"] == "line 5 of 40\n")]
        owner = (await stack.query("SELECT lease_owner FROM build"))[0].lease_owner
        pid = int(owner.split(":")[1])
        name = next(name for name, process in stack.processes.items() if process.pid == pid)
        await stack.kill(name, signal.SIGSTOP)
        seen += [event async for event in stream]
        await stack.kill(name, signal.SIGCONT)
    assert log_of(seen) == [f"line {n} of 40\n" for n in range(5, 41)]
    assert seen[-1]["phase"] == "ready"
    # The paused one wakes up and finds that the row is not its own: no further line, one result.
    await stack.launch(spec("lines-1+slow-0"))
    assert (await stack.query("SELECT lines FROM build WHERE image LIKE '%40%'"))[0].lines == 40


async def test_a_worker_told_to_stop_hands_over_without_a_failed_attempt(stack: Stack) -> None:
    await stack.up()
    async with stack.stream(spec("lines-40+slow-4")) as stream:
        seen = [await stream.until(lambda event: event["message"] == "line 5 of 40\n")]
        await stack.kill("worker", signal.SIGTERM)
        assert stack.processes["worker"].returncode == 0
        stack.start("worker")
        seen += [event async for event in stream]
    assert log_of(seen) == [f"line {n} of 40\n" for n in range(5, 41)]
    row = (await stack.query("SELECT attempt, crashes FROM build"))[0]
    assert (row.attempt, row.crashes) == (1, 0)


async def test_the_launcher_killed_in_mid_launch_is_replaced_and_one_server_runs(settings: Settings, tmp_path: Path) -> None:
    async with Stack(settings, tmp_path) as stack:
        await stack.kill("hub")
        stack.start("hub", "bench.mock_hub", "--port", str(stack.hub_port), "--delay", "2")
        await stack.up()
        await stack.launch(spec("lines-1+slow-0"))
        async with stack.stream(spec("lines-1+slow-0")) as stream:
            await stack.until(lambda: stack.query("SELECT 1 FROM server WHERE state = 'starting'"))
            await stack.kill("launcher")
            stack.start("launcher")
            events = [event async for event in stream]
        assert events[-1]["phase"] == "ready"
        counts = (await stack.client.get(f"http://127.0.0.1:{stack.hub_port}/hub/api/counts")).json()
        assert counts["starts"] == 2  # the first launch's and the second's, not one more


async def test_everything_goes_on_without_valkey(stack: Stack) -> None:
    stack.environment["DOCKYARD_REDIS_URL"] = f"unix://{stack.directory}/nobody.sock?db=0"
    await stack.up()
    events = await stack.launch(spec("lines-5+slow-0.5"))
    assert events[-1]["phase"] == "ready"
    assert log_of(events) == [f"line {n} of 5\n" for n in range(1, 6)]


async def test_the_last_waiters_cancel_ends_the_build_after_a_grace(stack: Stack) -> None:
    await stack.up()
    async with stack.stream(spec("hang")) as stream:
        event = await stream.until(lambda event: event.get("kind") == "building")
        launch = event["id"].split(".")[0]
        answer = await stack.client.delete(f"/api/v1/launches/{launch}")
        assert answer.status_code < 300
        ended = await stream.until(lambda event: event["phase"] == "failed")
        assert ended["kind"] == "cancelled"
    await stack.until(lambda: stack.query("SELECT 1 FROM build WHERE state = 'cancelled'"))
    # The image can be built again afterwards: a new generation.
    async with stack.stream(spec("hang")) as stream:
        await stream.until(lambda event: event.get("kind") == "building")
    generations = [row.generation for row in await stack.query("SELECT generation FROM build ORDER BY created_at")]
    assert generations == [1, 2]


async def test_a_click_inside_the_grace_takes_the_cancel_back(stack: Stack) -> None:
    stack.environment["DOCKYARD_BUILDS_GRACE"] = "10"
    await stack.up()
    async with stack.stream(spec("lines-30+slow-4")) as stream:
        event = await stream.until(lambda event: event.get("kind") == "building")
        await stack.client.delete(f"/api/v1/launches/{event['id'].split('.')[0]}")
    events = await stack.launch(spec("lines-30+slow-4"))
    assert events[-1]["phase"] == "ready"
    assert [row.state for row in await stack.query("SELECT state FROM build")] == ["built"]


async def test_stopping_a_ready_launch_removes_server_and_user(stack: Stack) -> None:
    await stack.up()
    events = await stack.launch(spec("lines-1+slow-0"))
    launch = events[-1]["id"].split(".")[0]
    await stack.client.delete(f"/api/v1/launches/{launch}")
    row = (await stack.until(lambda: stack.query("SELECT stop_reason FROM launch WHERE state = 'stopped'")))[0]
    assert row.stop_reason == "user"
    assert (await stack.client.get(f"http://127.0.0.1:{stack.hub_port}/hub/api/users")).json()["items"] == []
    assert (await stack.query("SELECT state FROM server"))[0].state == "stopped"


async def test_a_pinned_launch_of_a_vanished_image_is_built_again_once(stack: Stack) -> None:
    await stack.up()
    await stack.launch(spec("lines-2+slow-0"))
    images = Path(stack.settings.home.path) / "fake" / "images"
    for image in images.iterdir():
        image.unlink()
    await stack.kill("hub")
    stack.start("hub", "bench.mock_hub", "--port", str(stack.hub_port), "--fail-every", "1")
    events = await stack.launch(spec("lines-2+slow-0"))
    kinds = [event["kind"] for event in events if "kind" in event]
    assert kinds[:2] == ["found", "launching"]
    assert "building" in kinds
    assert kinds.count("built") == 1
    assert events[-1]["phase"] == "failed"  # this hub fails every server
