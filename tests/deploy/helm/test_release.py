"""The chart on a real cluster: from a link to a server, and through the loss of each part. `./dockyard test -m kubernetes`.

One release for this module and `test_release_upkeep`, whose tests run in order; each leaves it as it found it. The API server's
outage needs a file with its pid beside the kubeconfig (`run/kube-apiserver.pid`) and is skipped elsewhere.
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.helm.cluster import MARKS, SERVER, counted, slow, until
from tests.deploy.helm.release import Release
from tests.stack import log_of

pytestmark = MARKS


async def test_a_link_becomes_a_server(release: Release) -> None:
    """Build pod, push, KubeSpawner, a server that answers; the same link again needs no build; a broken one says why."""
    spec = release.repository("first.git")
    events = await release.launch(spec)
    assert events[-1]["phase"] == "ready", log_of(events)[-20:]
    assert await release.answers(events[-1]) == 200
    again = await release.launch(spec)
    assert again[-1]["phase"] == "ready"
    assert not {event["phase"] for event in again} & {"building", "pushing"}
    broken = await release.launch(release.repository("broken.git", f"{SERVER}RUN echo no numpy 99; exit 3\n"))
    assert broken[-1]["phase"] == "failed"
    assert "no numpy 99" in "".join(log_of(broken))
    for done in (events, again):
        await release.stop(done)
    await until(lambda: not release.names(release.users) + release.names(release.builds), 120, "pods are left over")


async def test_the_workers_pod_is_deleted_in_mid_build(release: Release) -> None:
    """The same build pod is followed by the next worker: one pod, every line once, `ready`."""
    deleted: list[str] = []

    def seen(event: dict[str, Any]) -> None:
        if "w line 5" in str(event.get("message")) and not deleted:
            deleted.extend(release.names(release.builds))
            release.delete("worker")

    events = await release.launch(release.repository("w.git", slow("w", 30)), lambda event: seen(event))
    assert events[-1]["phase"] == "ready", log_of(events)[-20:]
    assert counted(events, "w") == list(range(1, 31))
    assert len(deleted) == 1
    await release.stop(events)


async def test_the_launchers_pod_is_deleted_in_mid_launch(release: Release) -> None:
    """The next launcher takes the launch over: one server."""
    spec, deleted = await release.built(), asyncio.Event()
    await until(lambda: not release.names(release.users), 120, "servers of other tests are left over")

    def seen(event: dict[str, Any]) -> None:
        if event["phase"] == "launching" and not deleted.is_set():
            deleted.set()
            release.delete("launcher")

    events = await release.launch(spec, seen)
    assert deleted.is_set()
    assert events[-1]["phase"] == "ready", events[-1]
    assert await release.answers(events[-1]) == 200
    assert len(release.names(release.users)) == 1
    await release.stop(events)


async def test_a_stream_goes_on_at_another_replica(release: Release) -> None:
    """Opened on one, cut, resumed on the other: the two parts are one whole, and one launch."""
    spec = release.repository("r.git", slow("r", 12))
    await until(lambda: len(release.replicas()) == 2, 60, "there are not two replicas")
    first, second = release.replicas()
    events: list[dict[str, Any]] = []
    async with release.stream(spec, first) as stream:
        async for event in stream:
            events.append(event)
            if "r line 4" in str(event.get("message")):
                break
        last = stream.last
    async with release.stream(spec, second, last) as stream:
        async for event in stream:
            events.append(event)
            if event["phase"] in ("ready", "failed"):
                break
    assert events[-1]["phase"] == "ready", events[-1]
    assert counted(events, "r") == list(range(1, 13))
    assert len({event["id"].split(".")[0] for event in events if event["id"]}) == 1
    await release.stop(events)


async def test_the_apis_pods_are_deleted_under_a_client(release: Release) -> None:
    """A client that reconnects has every line once; nothing is launched twice."""
    deleted = False

    def seen(event: dict[str, Any]) -> None:
        nonlocal deleted
        if "a line 4" in str(event.get("message")) and not deleted:
            deleted = True
            release.delete("api")

    before = sum((await release.rows()).values())
    events = await release.launch(release.repository("a.git", slow("a", 15)), seen)
    assert deleted
    assert events[-1]["phase"] == "ready", events[-1]
    assert counted(events, "a") == list(range(1, 16))
    assert sum((await release.rows()).values()) == before + 1
    await release.stop(events)


async def test_twenty_launches_of_four_repositories(release: Release) -> None:
    """Four builds, twenty servers; after all are stopped no pod, user or row in flight is left."""
    specs = [release.repository(f"twenty-{n}.git", slow(f"t{n}", 3)) for n in range(4)]
    pods: set[str] = set()

    async def watch() -> None:
        while True:
            pods.update(await asyncio.to_thread(release.names, release.builds))
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    launches = await asyncio.gather(*(release.launch(spec, seconds=600) for spec in specs * 5))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert [events[-1]["phase"] for events in launches] == ["ready"] * 20
    assert len(pods) == 4
    assert await asyncio.gather(*(release.answers(events[-1]) for events in launches)) == [200] * 20
    for events in launches:
        await release.stop(events)
    await until(lambda: not release.names(release.users) + release.names(release.builds), 120, "pods are left over")

    async def nothing_left() -> bool:
        return not await release.hub_users() and set(await release.rows()) <= {"stopped", "failed", "done", "cancelled"}

    await until(nothing_left, 60, "users or rows are left over")


async def test_the_api_server_stops_for_a_minute(release: Release) -> None:
    """In the middle of a build and of a launch: both go on afterwards, with every line once."""
    pid = Path(os.environ["KUBECONFIG"]).parent / "run/kube-apiserver.pid"
    if not pid.exists():
        pytest.skip("no way to stop this cluster's API server")
    ready = await release.built()
    stopped = asyncio.Event()

    async def stop() -> None:
        await stopped.wait()
        os.kill(int(pid.read_text()), signal.SIGSTOP)
        try:
            await asyncio.sleep(60)
        finally:
            os.kill(int(pid.read_text()), signal.SIGCONT)

    stopping = asyncio.create_task(stop())
    building = asyncio.create_task(release.launch(
        release.repository("m.git", slow("m", 30)), lambda event: stopped.set() if "m line 4" in str(event.get("message")) else None))
    await stopped.wait()
    launched = await release.launch(ready)
    built = await building
    await stopping
    assert built[-1]["phase"] == launched[-1]["phase"] == "ready", (built[-1], launched[-1])
    assert counted(built, "m") == list(range(1, 31))
    for events in (built, launched):
        assert await release.answers(events[-1]) == 200
        await release.stop(events)
