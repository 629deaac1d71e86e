"""The cluster that KUBECONFIG names, and what tests on it need: images, kubectl, repositories whose builds take a while.

The cluster's node has to be this machine and to run images of the local Docker engine: addresses of services and pods are
reached as they are, images are not pulled, and volumes are directories of this machine.
"""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.services.runtimes.docker import lab
from tests.stack import ROOT, log_of

IMAGES = {"app": "deploy/image/Dockerfile", "hub": "deploy/hub/Dockerfile", "build": "deploy/build/Dockerfile"}
STAND_INS = ("postgres:18", "valkey/valkey:9", "registry:2")
TAG = "cluster-test"
SERVER = (
    f"FROM {lab.BASE}\nRUN useradd -m -u 1000 jovyan\nUSER 1000\nWORKDIR /home/jovyan\nENV PATH=/srv/venv/bin:$PATH HOME=/home/jovyan\n"
)


def no_cluster() -> str:
    """Why there is no cluster, or ""."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG points to no cluster"
    if not shutil.which("kubectl"):
        return "no kubectl command"
    asked = subprocess.run(["kubectl", "get", "--raw", "/readyz", "--request-timeout=5s"], capture_output=True, check=False)
    return "the cluster of KUBECONFIG does not answer" if asked.returncode else ""


def reason() -> str:
    """Why these tests cannot run here, or ""."""
    if why := no_cluster() or lab.reason():
        return why
    missing = [name for name in (*STAND_INS, lab.BASE) if not lab.docker("image", "inspect", "-f", "found", name, check=False)]
    return f"the engine has no image {', '.join(missing)}" if missing else ""


WHY = reason()
MARKS = [
    pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("cluster"),
    pytest.mark.skipif(bool(WHY), reason=WHY),
    pytest.mark.allow_hosts(["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12"]),
]


def kubectl(*words: str, check: bool = True, given: object = None) -> str:
    """Run kubectl; its output. `given` is an object that it reads."""
    done = subprocess.run(
        ["kubectl", *words], input=json.dumps(given) if given else None, capture_output=True, text=True, check=False, timeout=300)
    assert not (check and done.returncode), f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def make_images() -> None:
    """Make the three images of the chart; quick where nothing has changed."""
    for name, file in IMAGES.items():
        made = ("-t", f"dockyard/{name}:{TAG}", "-f", str(ROOT / file), str(ROOT))
        lab.docker("buildx", "build", "-q", "--build-arg", f"BASE={lab.SMALL}", *made)


def evict(namespace: str, pod: str) -> None:
    """Ask the cluster to evict a pod, as `kubectl drain` does."""
    served = kubectl("api-versions").split()
    body = {"apiVersion": "policy/v1" if "policy/v1" in served else "policy/v1beta1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace}}
    kubectl("create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", "-f", "-", given=body)


def slow(name: str, seconds: int) -> str:
    """A Dockerfile that prints a line a second before it is done."""
    return f"{SERVER}RUN for n in $(seq {seconds}); do echo {name} line $n; sleep 1; done\n"


def counted(events: list[dict[str, Any]], name: str) -> list[int]:
    """The numbers of the lines that such a build has printed, in order; the step's own text, which a builder repeats, is none."""
    text = "".join(log_of(events))
    return [int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} line ") and "$" not in line]


async def until(holds: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait until a condition (or what it awaits) is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, what
        await asyncio.sleep(1)
