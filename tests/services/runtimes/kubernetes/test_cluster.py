"""Build pods on a real cluster: `./dockyard test -m kubernetes` with KUBECONFIG set.

The build image is one of ours with a script in place of repo2docker, made on the engine that the node runs images from.
Every pod is in a namespace of its own, which goes with the tests.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.runtimes.base import BuildItem, BuildJob, Exit, Lines
from services.runtimes.kubernetes.builder import PodBuilder
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.telling import Telling
from services.settings import load
from tests.deploy.helm.cluster import no_cluster

_WHY = no_cluster()
pytestmark = [
    pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(300),
    pytest.mark.skipif(bool(_WHY), reason=_WHY),
    pytest.mark.skipif(not shutil.which("docker"), reason="no Docker command line: the node's images are made with it"),
]
IMAGE = "dockyard/build-script:test"
BASE = "python:3.11-slim-bookworm"
SCRIPT = """
import json, os, sys, time
told = json.loads(os.environ["DOCKYARD_JOB"])
word, _, number = told["repo_url"].rpartition("/")[2].partition("-")
print(json.dumps({"message": "Fetching", "phase": "fetching"}), flush=True)
if word == "lines":
    for n in range(1, int(number) + 1):
        print(f"line {n}", flush=True)
        time.sleep(0.1)
elif word == "hang":
    time.sleep(600)
elif word == "memory":
    held = bytearray(int(number) << 20)
    held[::4096] = b"x" * len(held[::4096])
    print("still here", flush=True)
elif word == "disk":
    with open("/build/big", "wb") as file:
        for _ in range(int(number)):
            file.write(os.urandom(1 << 20))
    time.sleep(120)
elif word == "fail":
    print("ERROR: no numpy 99", flush=True)
    sys.exit(1)
"""
Builders = Callable[..., PodBuilder]


def kubectl(*words: str, given: str | None = None) -> str:
    """Run kubectl; its output."""
    return subprocess.run(["kubectl", *words], check=True, capture_output=True, text=True, input=given).stdout


def evict(namespace: str, pod: str) -> None:
    """Ask the cluster to evict a pod, as `kubectl drain` does."""
    served = kubectl("api-versions").split()
    body = {"apiVersion": "policy/v1" if "policy/v1" in served else "policy/v1beta1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace}}
    kubectl("create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", "-f", "-", given=json.dumps(body))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The build image with a script for steps."""
    context: Path = tmp_path_factory.mktemp("image")
    (context / "steps").mkdir()
    (context / "steps/__init__.py").touch()
    (context / "steps/pod.py").write_text(SCRIPT)
    (context / "Dockerfile").write_text(f"FROM {BASE}\nCOPY steps /opt/steps\nENV PYTHONPATH=/opt PYTHONDONTWRITEBYTECODE=1\n")
    done = subprocess.run(["docker", "build", "-q", "-t", IMAGE, str(context)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the build image cannot be made: {done.stderr[-200:]}")
    return IMAGE


@pytest.fixture(scope="module")
def namespace() -> AsyncIterator[str]:  # type: ignore[misc]
    """A namespace for the pods."""
    name = f"dockyard-test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def builders(image: str, namespace: str) -> AsyncIterator[Builders]:
    """Makes builders on the cluster; each is a worker of its own."""
    made: list[PodBuilder] = []

    def make(timeout: str = "120", **values: str) -> PodBuilder:
        settings = load({
            "DOCKYARD_KUBERNETES_KUBECONFIG": os.environ["KUBECONFIG"], "DOCKYARD_KUBERNETES_NAMESPACE": namespace,
            "DOCKYARD_KUBERNETES_BUILD_IMAGE": image, "DOCKYARD_KUBERNETES_PULL_POLICY": "IfNotPresent",
            "DOCKYARD_KUBERNETES_CPU_REQUEST": "10m", "DOCKYARD_KUBERNETES_MEMORY_REQUEST": "32Mi",
            "DOCKYARD_KUBERNETES_DISK_REQUEST": "10Mi", "DOCKYARD_KUBERNETES_MEMORY_LIMIT": "256Mi",
            "DOCKYARD_BUILDS_TIMEOUT": timeout, "DOCKYARD_REGISTRY_URL": "http://registry:5000",
            **{f"DOCKYARD_KUBERNETES_{key}".upper(): value for key, value in values.items()},
        })
        builder = PodBuilder(Cluster(settings.kubernetes), Telling(settings), settings.kubernetes, settings.builds)
        made.append(builder)
        return builder

    yield make
    for builder in made:
        await builder.aclose()


def job(what: str) -> BuildJob:
    """A build of a scripted repository."""
    return BuildJob(secrets.token_hex(16), 1, "127.0.0.1:5000/r2d-x:1", "git", f"https://example.org/{what}", "c" * 40)


async def end_of(builder: PodBuilder, wanted: BuildJob) -> Exit:
    """Build, remove the pod, see that it is gone, and return how the build ended."""
    await builder.start(wanted)
    items = [item async for item in builder.follow(wanted, 1)]
    assert isinstance(items[-1], Exit)
    await builder.stop(wanted)
    assert wanted.handle not in await builder.running()
    return items[-1]


def texts(items: list[BuildItem]) -> list[str]:
    """The lines of the script."""
    return [line.message.strip() for item in items if isinstance(item, Lines) for line in item.lines if line.message.startswith("line")]


async def test_a_build_and_its_log(builders: Builders) -> None:
    """Every line once, in order."""
    builder, wanted = builders(), job("lines-20")
    await builder.start(wanted)
    items = [item async for item in builder.follow(wanted, 1)]
    assert items[-1] == Exit(ok=True)
    assert texts(items) == [f"line {n}" for n in range(1, 21)]
    await builder.remove(wanted.handle)


async def test_a_second_worker_adopts(builders: Builders) -> None:
    """The first is gone in mid-build; the second finds the same pod and goes on at its line."""
    wanted, first, second = job("lines-80"), builders(), builders()
    await first.start(wanted)
    got: list[BuildItem] = []

    async def until(line: int) -> int:
        async for item in first.follow(wanted, 1):
            got.append(item)
            if isinstance(item, Lines) and item.first + len(item.lines) > line:
                return item.first + len(item.lines)
        raise AssertionError("ended too soon")

    following = await until(10)
    uid = kubectl("-n", second._cluster.namespace, "get", "pod", wanted.handle, "-o", "jsonpath={.metadata.uid}")
    await second.start(wanted)
    rest = [item async for item in second.follow(wanted, following)]
    assert kubectl("-n", second._cluster.namespace, "get", "pod", wanted.handle, "-o", "jsonpath={.metadata.uid}") == uid
    assert texts([*got, *rest]) == [f"line {n}" for n in range(1, 81)]
    await second.remove(wanted.handle)


CASES = {
    "memory": ("memory-900", {}, "more memory than the 256Mi"),
    "image": ("lines-1", {"build_image": "dockyard/absent:none", "pull": "5"}, "cannot be had"),
    "no room": ("lines-1", {"memory_request": "900Gi", "memory_limit": "900Gi", "schedule": "5"}, "No node of the cluster has room"),
    "deadline": ("hang", {"timeout": "8"}, "longer than its limit"),
    "silence": ("hang", {"idle": "5"}, "written nothing"),
    "disk": ("disk-300", {"disk_limit": "40Mi"}, "more disk than it may"),
    "failure": ("fail", {}, "no numpy 99"),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_goes_wrong_has_a_sentence(builders: Builders, case: str) -> None:
    """And the pod is gone afterwards."""
    what, values, words = CASES[case]
    end = await end_of(builders(**values), job(what))
    assert not end.ok
    assert words in end.reason
    assert not end.retryable


async def test_an_evicted_build_is_tried_again(builders: Builders) -> None:
    """An eviction through the API, as of a drained node, deletes the pod: the cluster's fault, which is told at once."""
    builder, wanted = builders(), job("hang")
    await builder.start(wanted)
    items: list[BuildItem] = []
    async for item in builder.follow(wanted, 1):
        items.append(item)
        if isinstance(item, Lines) and any("Fetching" in line.message for line in item.lines):
            evict(builder._cluster.namespace, wanted.handle)
    assert isinstance(items[-1], Exit)
    assert (items[-1].ok, items[-1].retryable) == (False, True)
    assert "removed from the cluster" in items[-1].reason
    await builder.stop(wanted)
    assert wanted.handle not in await builder.running()


async def test_a_build_goes_with_what_it_belongs_to(builders: Builders, namespace: str) -> None:
    """Whoever uninstalls takes the worker away first; the cluster removes the pod with the release's ConfigMap."""
    kubectl("-n", namespace, "create", "configmap", "release")
    builder, wanted = builders(owner="release"), job("hang")
    await builder.start(wanted)
    assert wanted.handle in await builder.running()
    kubectl("-n", namespace, "delete", "configmap", "release")
    kubectl("-n", namespace, "wait", "--for=delete", f"pod/{wanted.handle}", "--timeout=60s")
    another = job("lines-1")
    await builder.start(another)  # the owner is gone: this one belongs to nobody
    assert another.handle in await builder.running()
    await builder.stop(another)
