"""The builder against an API server on which everything goes wrong: each case ends as its docstring says."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.runtimes.base import BuildItem, BuildJob, Exit, Lines, Phase, Source
from services.runtimes.kubernetes.builder import PodBuilder
from services.states import BuildState
from tests.services.runtimes.kubernetes.apiserver import ApiServer, Failing

JOB = BuildJob("a" * 32, 1, "registry/r2d-x:1", "gh", "https://github.com/o/r", "c" * 40)
Builders = Callable[..., PodBuilder]


async def followed(builder: PodBuilder, line: int = 1, job: BuildJob = JOB) -> list[BuildItem]:
    """Everything that a build tells, from start to exit."""
    await builder.start(job)
    return [item async for item in builder.follow(job, line)]


def text(items: list[BuildItem], *, notices: bool = False) -> list[str]:
    """The messages of the lines, without our own notices."""
    return [line.message for item in items if isinstance(item, Lines) for line in item.lines if notices or line.phase != "unknown"]


async def running(server: ApiServer, job: BuildJob = JOB) -> None:
    """Let the pod run once it has been made."""
    await server.made(job.handle)
    await server.container(job.handle, {"running": {}}, phase="Running")


async def test_a_build_from_start_to_end(server: ApiServer, builders: Builders) -> None:
    """The lines come once, in order, with their phases, and the facts with the exit."""
    task = asyncio.create_task(followed(builders()))
    await running(server)
    await server.say(JOB.handle, '{"message": "Cloning\\n", "phase": "fetching"}\n', "plain text\n")
    await server.say(JOB.handle, '{"message": "up", "phase": "pushing"}\n')
    await server.end(JOB.handle, message='{"facts": {"digest": "sha256:1"}}')
    items = await task
    assert text(items) == ["Cloning\n", "plain text\n", "up\n"]
    assert [i.state for i in items if isinstance(i, Phase)] == [BuildState.FETCHING, BuildState.PUSHING]
    assert items[-1] == Exit(ok=True, facts={"digest": "sha256:1"})


async def test_a_second_worker_adopts_and_goes_on_at_its_line(server: ApiServer, builders: Builders) -> None:
    """409 means that the attempt runs already."""
    first = asyncio.create_task(followed(builders()))
    await running(server)
    await server.say(JOB.handle, "one\n", "two\n")
    await server.asked("/log", 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(followed(builders(), line=3))
    await server.asked("POST", 2)
    await server.say(JOB.handle, "three\n")
    await server.end(JOB.handle)
    items = await second
    assert text(items) == ["three\n"]
    assert [i.first for i in items if isinstance(i, Lines)] == [3]
    assert items[-1] == Exit(ok=True)


async def test_a_private_repository_comes_with_a_secret_whoever_makes_the_pod(server: ApiServer, builders: Builders) -> None:
    """The pod exists before its Secret, and between the two a worker may die: whoever adopts the pod makes good."""
    server.failing.append(Failing("POST", 503, path="/secrets"))
    apart = Source("git", "https://other.org/x", "e" * 40)
    job = replace(JOB, provider="git", repo_url="https://git.example.org/private", environment=apart)
    builder = builders({"DOCKYARD_PROVIDERS_GIT_CREDENTIALS": '{"git.example.org": "username=u\\\\npassword=canary"}'})
    await builder.start(job)
    secret = server.secrets[job.handle]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == server.pods[job.handle]["metadata"]["uid"]
    assert "canary" in secret["stringData"]["logins"]
    assert "canary" not in str(server.pods)
    told = {entry["name"]: entry["value"] for entry in server.pods[job.handle]["spec"]["containers"][0]["env"]}
    assert json.loads(told["DOCKYARD_JOB"])["environment"] == {
        "repo_url": "https://other.org/x", "commit": "e" * 40, "branch": "", "files": []}
    await builder.start(job)
    await builders().start(JOB)
    assert list(server.secrets) == [job.handle]


async def test_a_pod_belongs_to_the_release(server: ApiServer, builders: Builders) -> None:
    """To the ConfigMap that is there when it is made; where there is none, or it may not be read, to nobody."""
    builder, jobs = builders(owner="ours"), [replace(JOB, attempt=n) for n in range(1, 5)]
    await builder.start(jobs[0])
    server.configmaps["ours"] = "u-1"
    await builder.start(jobs[1])
    server.configmaps["ours"] = "u-2"
    await builder.start(jobs[2])
    server.failing.append(Failing("GET", 403, path="/configmaps"))
    await builder.start(jobs[3])
    owners = [server.pods[job.handle]["metadata"].get("ownerReferences", []) for job in jobs]
    assert [[each["uid"] for each in found] for found in owners] == [[], ["u-1"], ["u-2"], []]
    assert {each["kind"] for found in owners for each in found} == {"ConfigMap"}


async def test_a_pod_of_somebody_else_is_not_adopted(server: ApiServer, builders: Builders) -> None:
    """A name that is taken by another installation is told, not followed."""
    builder = builders()
    await builder.start(JOB)
    server.pods[JOB.handle]["metadata"]["labels"]["dockyard/instance"] = "another"
    items = await followed(builders())
    assert isinstance(items[-1], Exit)
    assert not items[-1].ok
    assert "already" in items[-1].reason


@pytest.mark.parametrize("cuts", [1, 3])
async def test_cut_connections_repeat_and_lose_nothing(server: ApiServer, builders: Builders, cuts: int) -> None:
    """Watches and logs that break are taken up again at the next line."""
    task = asyncio.create_task(followed(builders()))
    await running(server)
    for number in range(cuts):
        await server.say(JOB.handle, f"line {number}\n")
        await server.asked("/log", number + 1)
        await server.cut()
    await server.asked("/log", cuts + 1)
    await server.say(JOB.handle, "the last\n")
    await server.end(JOB.handle)
    assert text(await task) == [*(f"line {n}\n" for n in range(cuts)), "the last\n"]


async def test_a_watch_that_is_too_old_lists_anew(server: ApiServer, builders: Builders) -> None:
    """410 Gone: what happened in between is found by the list."""
    task = asyncio.create_task(followed(builders()))
    await running(server)
    await server.asked("watch=true")
    server.forgotten = server.version + 1
    await server.cut()
    await server.asked("/pods?limit", 2)
    server.forgotten = 0
    await server.end(JOB.handle, code=1)
    assert (await task)[-1] == Exit(ok=False, reason="The build failed with status 1.", hint="The last lines of its log say why.")


async def test_a_silent_watch_is_made_good_by_the_list(server: ApiServer, builders: Builders) -> None:
    """Events that never come are found by the periodic list."""
    server.silent = True
    task = asyncio.create_task(followed(builders(resync="0.2")))
    await server.made(JOB.handle)
    await server.asked("watch=true")
    await server.end(JOB.handle)
    await server.cut()
    assert (await task)[-1] == Exit(ok=True)


async def test_a_server_that_asks_for_patience_gets_it(server: ApiServer, builders: Builders) -> None:
    """429 and 503 are waited out."""
    server.failing = [Failing("POST", 429, headers={"Retry-After": "0"}, times=2), Failing("GET", 503, times=2)]
    task = asyncio.create_task(followed(builders()))
    await running(server)
    await server.end(JOB.handle)
    assert (await task)[-1] == Exit(ok=True)


async def test_a_server_that_stays_away_is_the_clusters_fault(server: ApiServer, builders: Builders) -> None:
    """Where patience ends, the attempt ends, and another may follow."""
    server.failing = [Failing("POST", 500, times=1000), Failing("GET", 500, times=1000)]
    end = (await followed(builders(patience="0.3")))[-1]
    assert isinstance(end, Exit)
    assert end.retryable


async def test_a_role_that_is_not_enough_is_told(server: ApiServer, builders: Builders) -> None:
    """403 ends the build with the cluster's words and says whose fault it is."""
    server.failing = [Failing("POST", 403, 'pods is forbidden: User "x" cannot create', times=99)]
    end = (await followed(builders()))[-1]
    assert isinstance(end, Exit)
    assert "cannot create" in end.reason
    assert "administrator" in end.hint


async def test_a_used_up_quota_is_waited_for(server: ApiServer, builders: Builders) -> None:
    """403 of a quota is a queue: it is told once, and the build starts when others have ended."""
    server.failing = [Failing("POST", 403, "exceeded quota: builds, requested: pods=1", times=2)]
    task = asyncio.create_task(followed(builders()))
    await running(server)
    await server.end(JOB.handle)
    items = await task
    assert items[-1] == Exit(ok=True)
    assert sum("quota" in line for line in text(items, notices=True)) == 1


WAITS = {
    "unschedulable": ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                                       "message": "0/3 nodes are available: 3 Insufficient memory."}]}, "3 Insufficient memory"),
    "no image": ({"containerStatuses": [{"name": "build", "state": {"waiting": {
        "reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}]}, "ImagePullBackOff"),
    "no secret": ({"containerStatuses": [{"name": "build", "state": {"waiting": {
        "reason": "CreateContainerConfigError", "message": 'secret "push" not found'}}}]}, 'secret "push" not found'),
}


@pytest.mark.parametrize("case", WAITS)
async def test_what_a_pod_waits_for_is_told_at_once_and_bounded(server: ApiServer, builders: Builders, case: str) -> None:
    """The sentence comes with the first sight, and ends the build when it lasts."""
    server.born, words = WAITS[case]
    items = await followed(builders(schedule="0.2", pull="0.2"))
    end = items[-1]
    assert isinstance(end, Exit)
    assert not end.ok
    assert words in end.reason
    assert text(items, notices=True) == [end.reason + "\n"]


async def test_a_pod_that_gets_its_node_late_builds(server: ApiServer, builders: Builders) -> None:
    """Waiting for a node that comes is no failure."""
    task = asyncio.create_task(followed(builders()))
    await server.made(JOB.handle)
    status, _ = WAITS["unschedulable"]
    await server.set(JOB.handle, **status)
    await running(server)
    await server.end(JOB.handle)
    assert (await task)[-1] == Exit(ok=True)


async def test_a_pod_that_vanishes_is_the_clusters_fault(server: ApiServer, builders: Builders) -> None:
    """A drained node deletes the pod: the build gets a new attempt."""
    task = asyncio.create_task(followed(builders()))
    await running(server)
    await server.asked("/log")
    await server.drop(JOB.handle)
    end = (await task)[-1]
    assert isinstance(end, Exit)
    assert end.retryable


async def test_a_pod_made_anew_under_a_half_read_log_is_not_followed(server: ApiServer, builders: Builders) -> None:
    """A worker that comes back to a vanished pod must not take another's line 1 for line 7."""
    end = (await followed(builders(), line=7))[-1]
    assert isinstance(end, Exit)
    assert end.retryable


async def test_silence_ends_a_build(server: ApiServer, builders: Builders) -> None:
    """No line for `kubernetes.idle` seconds: stopped, with a sentence, and gone."""
    task = asyncio.create_task(followed(builders(idle="0.5")))
    await running(server)
    end = (await task)[-1]
    assert isinstance(end, Exit)
    assert "written nothing" in end.reason
    assert JOB.handle not in server.pods


async def test_stop_running_and_remove(server: ApiServer, builders: Builders) -> None:
    """Every verb may be called again."""
    builder = builders()
    await builder.start(JOB)
    await builder.start(JOB)
    assert await builder.running() == [JOB.handle]
    await builder.stop(JOB)
    await builder.stop(JOB)
    await builder.remove(JOB.handle)
    assert await builder.running() == []


async def test_more_pods_than_a_page(server: ApiServer, builders: Builders) -> None:
    """A list comes in pages and is read to its end."""
    server.page = 2
    builder = builders()
    jobs = [BuildJob(f"{n:032x}", 1, "i", "gh", "u", "c") for n in range(5)]
    for job in jobs:
        await builder.start(job)
    assert await builder.running() == [job.handle for job in jobs]
