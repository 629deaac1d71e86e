"""What an operator does with the release of `test_release`, and the cluster with it: eviction, quotas, orphans, an upgrade, the end."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.helm.cluster import MARKS, TAG, counted, evict, kubectl, slow, until
from tests.deploy.helm.release import Release
from tests.gitserver import Repo
from tests.services.runtimes.docker import lab
from tests.stack import log_of

pytestmark = MARKS
KEPT = ["secret/dockyard", "persistentvolumeclaim/data-dockyard-postgresql-0", "persistentvolumeclaim/data-dockyard-registry-0"]


async def test_a_commit_of_content_needs_no_build(release: Release, tmp_path: Path) -> None:
    """It is its environment and a layer, with the new file in it and without the old one; the environment is made for the test, for
    pods here reach no package index."""
    (tmp_path / "requirements.txt").write_text("tqdm\n")
    await release.become_environment(await release.built(), key_of(tmp_path, release.values()["settings"]["docker"]))
    repo = Repo.create(release.repositories, "content.git")
    first = await release.launch(release.commit(repo, "content.git", {"requirements.txt": "tqdm\n", "old.md": "one"}))
    assert first[-1]["phase"] == "ready", log_of(first)[-20:]
    assert (await release.ask(first[-1], "api/contents/old.md")).json()["content"] == "one"
    second = await release.launch(release.commit(repo, "content.git", {"new.md": "two", "old.md": None}))
    text = "".join(log_of(second))
    assert second[-1]["phase"] == "ready", text[-2000:]
    assert "Its environment is there already." in text
    assert "STEP" not in text
    assert (await release.ask(second[-1], "api/contents/new.md")).json()["content"] == "two"
    assert (await release.ask(second[-1], "api/contents/old.md")).status_code == 404
    for events in (first, second):
        await release.stop(events)


def key_of(checkout: Path, recipe: dict[str, Any]) -> str:
    """The key of a checkout's environment, as the build image finds it."""
    program = (
        "import sys; from pathlib import Path; from steps import __main__ as main; from steps.job import Job\n"
        "main.CHECKOUT = Path('/checkout')\n"
        "print(main.judged(Job('', '', '', 'contained', uv=True, base_image=sys.argv[1])).key)")
    assert recipe["uv"]
    return lab.docker("run", "--rm", "-v", f"{checkout}:/checkout:ro", "--entrypoint", "python", f"dockyard/build:{TAG}", "-c", program,
                      str(recipe["base_image"]))


async def test_an_evicted_build_has_another_attempt(release: Release) -> None:
    """Its pod is taken away in the middle, as by a drained node: another pod, and `ready`."""
    pods: list[str] = []

    def seen(event: dict[str, Any]) -> None:
        if "e line 4" in str(event.get("message")) and not pods:
            pods.extend(release.names(release.builds))
            evict(release.builds, pods[0].partition(" ")[0])

    events = await release.launch(release.repository("e.git", slow("e", 10)), seen)
    assert events[-1]["phase"] == "ready", log_of(events)[-20:]
    assert len(pods) == 1
    numbers = counted(events, "e")
    assert numbers[-10:] == list(range(1, 11))
    assert numbers[:-10] == list(range(1, len(numbers) - 9))
    assert "removed from the cluster" in "".join(log_of(events))
    await release.stop(events)


async def test_used_up_quotas_are_waited_for(release: Release) -> None:
    """Of builds, which the log says, and of servers; both go on when there is room again."""
    def quota(namespace: str) -> None:
        kubectl("-n", namespace, "create", "quota", "full", "--hard=pods=0")

    def room(namespace: str) -> None:
        kubectl("-n", namespace, "delete", "quota", "full")

    told: list[str] = []

    def seen(event: dict[str, Any]) -> None:
        if "quota of builds is used up" in str(event.get("message")) and not told:
            told.append(str(event["message"]))
            room(release.builds)

    quota(release.builds)
    quota(release.users)
    launching = asyncio.create_task(release.launch(release.repository("q.git"), seen))
    await until(lambda: "a quota is used up" in kubectl("-n", release.namespace, "logs", "deployment/dockyard-hub", "--since=2m"),
                300, "the hub was not refused")
    assert told
    room(release.users)
    events = await launching
    assert events[-1]["phase"] == "ready", events[-1]
    assert await release.answers(events[-1]) == 200
    await release.stop(events)


def planted(namespace: str, name: str, component: str, instance: str, user: str = "") -> None:
    """A pod that looks like one of ours, and that no row knows."""
    kubectl("apply", "-f", "-", given={
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app.kubernetes.io/component": component, "dockyard/instance": instance},
            "annotations": {"hub.jupyter.org/username": user} if user else {},
        },
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "it", "image": f"dockyard/app:{TAG}", "imagePullPolicy": "Never",
             "command": ["sleep", "3600"]}]},
    })


async def test_rows_and_cluster_are_compared(release: Release) -> None:
    """Pods and a user that no row knows go, and nobody else's; a server whose pod has gone is told as lost."""
    live, lost = await release.launch(await release.built()), await release.launch(await release.built())
    assert live[-1]["phase"] == lost[-1]["phase"] == "ready", (live[-1], lost[-1])
    strays = [f"build-{'0' * 32}-1", "jupyter-stray", "jupyter-other"]
    planted(release.builds, strays[0], "build", "dockyard")
    planted(release.users, strays[1], "singleuser-server", "dockyard", "stray")
    planted(release.users, strays[2], "singleuser-server", "another", "other")
    async with httpx.AsyncClient(headers={"authorization": f"token {release.secret('hub-token')}"}) as client:
        assert (await client.post(f"{release.hub}/hub/api/users/stray-user")).status_code == 201
    user = lost[-1]["url"].partition("/user/")[2].strip("/")
    pods = json.loads(kubectl("-n", release.users, "get", "pods", "-o", "json"))["items"]
    [pod] = [each["metadata"]["name"] for each in pods if each["metadata"]["annotations"].get("hub.jupyter.org/username") == user]
    kubectl("-n", release.users, "delete", "pod", pod, "--wait=false")

    async def settled() -> bool:
        there = " ".join(release.names(release.builds) + release.names(release.users))
        users = await release.hub_users()
        state = (await release.launch_of(lost))["state"]
        return strays[0] not in there and strays[1] not in there and "stray-user" not in users and state == "stopped"

    await until(settled, 240, "orphans are left, or a lost server is believed")
    assert strays[2] in " ".join(release.names(release.users))
    assert await release.answers(live[-1]) == 200
    kubectl("-n", release.users, "delete", "pod", strays[2], "--wait=false")
    await release.stop(live)
    await until(lambda: not release.names(release.users) + release.names(release.builds), 120, "pods are left over")


async def test_an_upgrade_in_the_middle_of_it_all(release: Release) -> None:
    """Every process of ours is replaced while a build is followed and a server is used; secrets stay, the schema is looked at again."""
    used = await release.launch(await release.built())
    before = {key: release.secret(key) for key in ("key", "hub-token", "admin-token", "database-url")}
    processes = {pod["metadata"]["uid"] for part in ("api", "worker", "launcher", "reaper", "hub") for pod in release.pods(part)}
    begun, pods = asyncio.Event(), set[str]()

    def seen(event: dict[str, Any]) -> None:
        if "v line 3" in str(event.get("message")):
            begun.set()

    building = asyncio.create_task(release.launch(release.repository("v.git", slow("v", 40)), seen))
    await begun.wait()
    pods.update(release.names(release.builds))
    values = release.values()
    values["settings"]["front"] = {"name": "Another name"}
    await asyncio.to_thread(release.upgrade, values)
    pods.update(release.names(release.builds))
    assert await release.answers(used[-1]) == 200
    built = await building
    assert built[-1]["phase"] == "ready", log_of(built)[-20:]
    assert counted(built, "v") == list(range(1, 41))
    assert len(pods) == 1
    assert await release.answers(built[-1]) == 200
    after = {pod["metadata"]["uid"] for part in ("api", "worker", "launcher", "reaper", "hub") for pod in release.pods(part)}
    assert not processes & after
    assert {key: release.secret(key) for key in before} == before
    kubectl("-n", release.namespace, "wait", "--for=condition=complete", "job/dockyard-migrations-2", "--timeout=60s")
    async with httpx.AsyncClient(timeout=120) as client:
        assert "Another name" in (await client.get(f"{release.api}/", headers={"host": "127.0.0.1:8000"})).text
    for events in (used, built):
        await release.stop(events)


async def test_uninstalling_leaves_what_the_chart_says_it_keeps(release: Release) -> None:
    """In the middle of a build, beside a running server: the generated secret and the claims of two volumes. With them all comes back."""
    spec = await release.built()
    events = await release.launch(spec)
    begun = asyncio.Event()

    def seen(event: dict[str, Any]) -> None:
        if "k line 2" in str(event.get("message")):
            begun.set()

    building = asyncio.create_task(release.launch(release.repository("k.git", slow("k", 300)), seen))
    await begun.wait()
    assert release.names(release.users)
    assert release.names(release.builds)
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)
    await asyncio.to_thread(release.uninstall)
    await until(lambda: sorted(release.left(release.namespace)) == sorted(KEPT), 60, "something else is left")
    await until(lambda: not release.left(release.users), 60, "something is left among the users")
    await until(lambda: not kubectl("get", "namespace", release.builds, "--ignore-not-found"), 120, "the builds' namespace is left")
    found = json.loads(kubectl("get", "clusterrole,clusterrolebinding", "-o", "json"))["items"]
    assert not [each["metadata"]["name"] for each in found if release.namespace in json.dumps(each)]
    release.volume("dockyard-hub")
    await asyncio.to_thread(release.install)
    again = await release.launch(spec)
    assert again[-1]["phase"] == "ready", again[-1]
    assert not {event["phase"] for event in again} & {"building", "pushing"}
    assert await release.answers(again[-1]) == 200
    assert await release.answers(events[-1]) != 200
