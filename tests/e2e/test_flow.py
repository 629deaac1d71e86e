"""Launches through all processes, on the fake runtime: what a client sees, whatever dies on the way.

All tests share one set of processes and leave it whole; each has a repository of its own.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from services.settings import Settings
from tests.gitserver import GitServer, Repo
from tests.stack import Stack, log_of, spec

pytestmark = pytest.mark.xdist_group("flow")


async def builds(stack: Stack, name: str, columns: str = "*") -> list[Any]:
    return await stack.query(f"SELECT {columns} FROM build WHERE repo_url LIKE :name ORDER BY created_at", name=f"%{name}%")


async def _launches(stack: Stack, name: str) -> int:
    return (await stack.query("SELECT count(*) AS n FROM launch WHERE repo LIKE :name", name=f"%{name}%"))[0].n


async def test_a_new_commit_is_built_once_and_found_afterwards(stack: Stack, name: str) -> None:
    first = await stack.launch(spec(f"lines-7+slow-0.5+{name}"))
    assert [event["phase"] for event in first if "kind" in event] == ["waiting", "waiting", "waiting", "built", "launching", "ready"]
    assert log_of(first) == [f"line {n} of 7\n" for n in range(1, 8)]
    assert first[-1]["url"].endswith("/")
    assert len(first[-1]["token"]) == 22
    second = await stack.launch(spec(f"lines-7+slow-0.5+{name}"))
    assert [event["phase"] for event in second] == ["built", "launching", "ready"]
    assert second[-1]["token"] != first[-1]["token"]
    assert len(await builds(stack, name)) == 1
    for row in await stack.query("SELECT seq, (SELECT count(*) FROM event WHERE launch = id) AS n FROM launch"):
        assert row.seq == row.n
    tokens = {first[-1]["token"], second[-1]["token"]}
    dump = str([[dict(row._mapping) for row in await stack.query(f"SELECT * FROM {name}")] for name in ("launch", "event", "server")])
    assert not any(token in dump for token in tokens)


async def test_a_directory_and_an_environment_of_its_own_are_looked_up_built_and_named(stack: Stack, name: str, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path, "env.git")
    async with GitServer(tmp_path) as git:
        one = repo.commit({"requirements.txt": ""})
        environment = f"git/{quote(git.url('env.git'), safe='')}/HEAD"
        asked = f"{spec(f'lines-1+slow-0+{name}')}?{urlencode({'subdir': 'a/b', 'environment': environment})}"
        first, again = await stack.launch(asked), await stack.launch(asked)
        two = repo.commit({"requirements.txt": "six"})
        newer, plain = await stack.launch(asked), await stack.launch(spec(f"lines-1+slow-0+{name}"))
        missing = await stack.launch(asked.replace("env.git", "nothing.git"))
    assert [events[-1]["phase"] for events in (first, again, newer, plain, missing)] == ["ready"] * 4 + ["failed"]
    assert missing[-1]["message"].startswith("The environment repository: Could not resolve ref for git:")
    assert first[-1]["binder_request"].endswith(f"?subdir=a/b&environment={quote(environment)}")
    assert one in first[-1]["binder_persistent_request"]
    made = await builds(stack, name, "subdir, environment_source->>'commit' AS commit, image")
    assert [(build.subdir, build.commit) for build in made] == [("a/b", one), ("a/b", two), (None, None)]
    assert len({build.image for build in made}) == 3
    rows = await stack.query("SELECT image, environment_source->>'commit' AS commit FROM launch WHERE repo LIKE :name AND state = 'ready' "
                             "AND environment_link IS NOT NULL ORDER BY created_at", name=f"%{name}%")
    assert [row.commit for row in rows] == [one, one, two]


async def test_many_clients_of_one_new_commit_share_one_build(stack: Stack, name: str) -> None:
    results = await asyncio.gather(*[stack.launch(spec(f"lines-20+slow-1.5+{name}")) for _ in range(30)])
    assert all(events[-1]["phase"] == "ready" for events in results)
    assert all(log_of(events) == [f"line {n} of 20\n" for n in range(1, 21)] for events in results)
    assert len(await builds(stack, name)) == 1
    assert len({events[-1]["url"] for events in results}) == 30


async def test_a_failed_build_says_why_once_and_keeps_its_log(stack: Stack, name: str) -> None:
    events = await stack.launch(spec(f"lines-3+slow-0+fail+{name}"))
    assert [event for event in events if event["phase"] == "failed"] == [events[-1]]
    assert events[-1]["message"] == "The repository cannot be built. Mend it.\n"
    assert events[-1]["reason"]["code"] == "build_failed"
    build = next(event["build"] for event in events if event.get("kind") == "building")
    assert (await stack.query("SELECT lines FROM build WHERE id = :id", id=build))[0].lines == 3


async def test_a_builder_that_falls_over_is_tried_again(stack: Stack, name: str) -> None:
    events = await stack.launch(spec(f"lines-2+slow-0+crash-1+{name}"))
    assert events[-1]["phase"] == "ready"
    row = (await builds(stack, name))[0]
    assert (row.attempt, row.state) == (2, "built")
    assert any("Trying again" in line for line in log_of(events))


async def test_a_builder_that_always_falls_over_fails_with_its_reason(stack: Stack, name: str) -> None:
    events = await stack.launch(spec(f"lines-2+slow-0+crash-9+{name}"))
    assert events[-1]["phase"] == "failed"
    assert events[-1]["message"].startswith("The builder fell over.")


async def test_one_environment_is_made_once_for_two_commits(stack: Stack, name: str) -> None:
    other = "f" * 40
    results = await asyncio.gather(
        stack.launch(spec(f"env-{name}+lines-4+slow-1+{name}")), stack.launch(spec(f"env-{name}+lines-4+slow-1+{name}", other)))
    assert [events[-1]["phase"] for events in results] == ["ready", "ready"]
    rows = await builds(stack, name)
    assert sorted((row.makes_environment, row.environment) for row in rows) == [(False, name), (True, name)]


async def test_a_cut_stream_is_resumed_without_loss_or_second_launch(stack: Stack, name: str) -> None:
    path = spec(f"lines-40+slow-2+{name}")
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
    assert await _launches(stack, name) == 1
    async with stack.stream(path, last=seen[-1]["id"]) as stream:
        assert stream.response.status_code == 204
    assert await _launches(stack, name) == 1


async def test_a_late_watcher_gets_the_log_from_line_one(stack: Stack, name: str) -> None:
    async with stack.stream(spec(f"lines-30+slow-1.5+{name}")) as first:
        await first.until(lambda event: event["message"] == "line 15 of 30\n")
        late = await stack.launch(spec(f"lines-30+slow-1.5+{name}"))
    assert log_of(late) == [f"line {n} of 30\n" for n in range(1, 31)]


async def _hub(stack: Stack, *behaviour: str) -> None:
    """Start the hub anew, with another behaviour."""
    await stack.kill("hub")
    stack.start("hub", "bench.mock_hub", "--port", str(stack.hub_port), *behaviour)

    async def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await stack.client.get(f"http://127.0.0.1:{stack.hub_port}/hub/api/counts")).status_code == 200
        return False

    await stack.until(answers)


async def test_the_launcher_killed_in_mid_launch_is_replaced_and_one_server_runs(stack: Stack, name: str) -> None:
    await stack.launch(spec(f"lines-1+slow-0+{name}"))
    await _hub(stack, "--delay", "5")
    async with stack.stream(spec(f"lines-1+slow-0+{name}")) as stream:
        launch = (await stream.until(lambda event: event["phase"] == "launching"))["id"].split(".")[0]
        await stack.until(lambda: stack.query("SELECT 1 FROM server WHERE launch = :launch", launch=launch))
        await stack.kill("launcher")
        stack.start("launcher")
        events = [event async for event in stream]
    assert events[-1]["phase"] == "ready"
    counts = (await stack.client.get(f"http://127.0.0.1:{stack.hub_port}/hub/api/counts")).json()
    assert counts["starts"] == 1
    await _hub(stack)


async def test_a_server_that_fails_is_removed_and_tried_again(stack: Stack, name: str) -> None:
    await stack.launch(spec(f"lines-1+slow-0+{name}"))
    await _hub(stack, "--fail-every", "2")
    await stack.launch(spec(f"lines-1+slow-0+{name}"))  # the hub's first server comes up, its second does not
    events = await stack.launch(spec(f"lines-1+slow-0+{name}"))
    assert events[-1]["phase"] == "ready"
    assert [event["kind"] for event in events].count("retrying") == 1
    launch = events[-1]["id"].split(".")[0]
    servers = await stack.query("SELECT attempt, state FROM server WHERE launch = :id ORDER BY attempt", id=launch)
    assert [(row.attempt, row.state) for row in servers] == [(1, "stopped"), (2, "running")]
    users = (await stack.client.get(f"http://127.0.0.1:{stack.hub_port}/hub/api/users")).json()["items"]
    assert len(users) == 2
    await _hub(stack)


async def test_everything_goes_on_without_valkey(settings: Settings, tmp_path: Path) -> None:
    async with Stack(settings, tmp_path, DOCKYARD_REDIS_URL=f"unix://{tmp_path}/nobody.sock?db=0") as stack:
        await stack.up()
        events = await stack.launch(spec("lines-5+slow-0.5"))
        assert events[-1]["phase"] == "ready"
        assert log_of(events) == [f"line {n} of 5\n" for n in range(1, 6)]


async def test_stopping_a_ready_launch_removes_server_and_user(stack: Stack, name: str) -> None:
    events = await stack.launch(spec(f"lines-1+slow-0+{name}"))
    launch = events[-1]["id"].split(".")[0]
    await stack.client.delete(f"/api/v1/launches/{launch}")
    row = (await stack.until(lambda: stack.query("SELECT stop_reason FROM launch WHERE state = 'stopped' AND id = :id", id=launch)))[0]
    assert row.stop_reason == "user"
    user = (await stack.query("SELECT user_name, state FROM server WHERE launch = :id", id=launch))[0]
    assert user.state == "stopped"
    assert (await stack.client.get(f"http://127.0.0.1:{stack.hub_port}/hub/api/users/{user.user_name}")).status_code == 404


async def test_a_pinned_launch_of_a_vanished_image_is_built_again_once(stack: Stack, name: str) -> None:
    await stack.launch(spec(f"lines-2+slow-0+{name}"))
    images = Path(stack.settings.home.path) / "fake" / "images"
    for image in images.iterdir():
        image.unlink()
    await _hub(stack, "--fail-every", "1")
    events = await stack.launch(spec(f"lines-2+slow-0+{name}"))
    kinds = [event["kind"] for event in events if "kind" in event]
    assert kinds[:2] == ["found", "launching"]
    assert "building" in kinds
    assert kinds.count("built") == 1
    assert events[-1]["phase"] == "failed"  # this hub fails every server
    await _hub(stack)
