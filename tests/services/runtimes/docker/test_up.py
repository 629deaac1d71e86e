"""The whole path on a Docker engine: a link becomes a server of DockerSpawner, in one `up` for all tests of a builder.

The contained builder always; the engine's, whose way from link to server tests/deploy/compose goes too, with DOCKER_UP=1.
"""

import asyncio
import json
import os
import re
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.ports import free_ports
from tests.cli.test_up import Up
from tests.e2e.local_up import Place, compute
from tests.gitserver import GitServer, Repo
from tests.registryserver import RegistryServer
from tests.services.runtimes.docker import lab
from tests.stack import log_of

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("docker-up")]
BUILDERS = [
    "contained",
    pytest.param("engine", marks=pytest.mark.skipif(not os.environ.get("DOCKER_UP"), reason="takes a minute; with DOCKER_UP=1 it runs")),
]
LAUNCHES = int(os.environ.get("OUTAGE_LAUNCHES", "3"))
SERVED = f"FROM {lab.SERVING}\nRUN : {{own}}; for i in $(seq 1 {{lines}}); do echo line $i; sleep 0.1; done\n"
# A wheel, and configurations that lead to it, wherever a builder of others might look.
PLANT = f"""FROM {lab.SMALL}
COPY . /planted
RUN python3 /planted/plant.py; for place in /bases /bases/overlay /build /root/.cache/uv /root/.cache/pip /var/cache/uv /tmp; do \\
 mkdir -p $place && cp /planted/*.whl $place/; done; \\
 for file in /etc/pip.conf /build/uv.toml /etc/uv/uv.toml; do mkdir -p $(dirname $file) && cp /planted/configuration $file; done; true
"""
PLANTED = {
    "Dockerfile": PLANT, "configuration": "find-links = ['/planted']\nno-index = true\n",
    "plant.py": "import zipfile\nwith zipfile.ZipFile('/planted/tqdm-9999-py3-none-any.whl', 'w') as wheel:\n"
                "    wheel.writestr('tqdm.py', '__version__ = \"planted\"')\n"
                "    wheel.writestr('tqdm-9999.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tqdm\\nVersion: 9999\\n')\n"
                "    wheel.writestr('tqdm-9999.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
                "    wheel.writestr('tqdm-9999.dist-info/RECORD', '')\n",
}


class DockerPlace(Place):
    """An installation on the engine, with the registry that it pushes to."""

    registry: RegistryServer
    served: str  # the spec of a repository with a Dockerfile

    async def launch(self, path: str, seconds: float = 600) -> list[dict[str, Any]]:
        """As there, with the patience that a first build wants on a machine with much to do."""
        return await super().launch(path, seconds)

    @property
    def installation(self) -> str:
        return self.up.environ["DOCKYARD_DOCKER_INSTALLATION"]

    def builds(self) -> list[str]:
        """Names and ids of all build containers, disks aside."""
        ours = f"label=dockyard.installation={self.installation}"
        words = ("ps", "-a", "--no-trunc", "--filter", ours, "--filter", "label=dockyard.build")
        return [line for line in lab.docker(*words, "--format", "{{.Names}} {{.ID}}").splitlines() if "-disk " not in line]

    async def asked(self) -> int:
        """How many builds there have been."""
        token = (self.up.home / "secret" / "admin-token").read_text().strip()
        answer = await self.client.get("/api/v1/builds", params={"limit": 100}, headers={"authorization": f"Bearer {token}"})
        return len(answer.json()["items"])


@pytest.fixture(scope="module", params=BUILDERS)
async def place(request: pytest.FixtureRequest, store: RegistryServer) -> AsyncIterator[DockerPlace]:
    with tempfile.TemporaryDirectory(prefix="dockyard-test-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        root.chmod(0o711)
        (root / "repositories").mkdir()
        own = f"up-{secrets.token_hex(4)}"
        with GitServer(root / "repositories", host=lab.gateway()) as git:
            environ = lab.environment(
                store, request.param, docker_installation=own, docker_server_network=own, builds_timeout=900, builds_patience=10,
                leases_seconds=3)
            up = Up(root / "home", free_ports(), "docker", **environ)
            await up.start()
            try:
                await up.hear("Dockyard is up")
                found = DockerPlace(up, git, root / "repositories")
                found.registry = store
                found.served = served(found, "served.git")
                yield found
                await found.client.aclose()
            finally:
                up.process.send_signal(signal.SIGTERM)
                await up.end()
                await up.nothing_is_left()
                left = await asyncio.to_thread(lab.docker, "ps", "-aq", "--filter", f"label=dockyard.installation={own}")
                walls = await asyncio.to_thread(lab.walls, lab.IMAGE, own, f"{own}-builds")
                networks = await asyncio.to_thread(lab.docker, "network", "ls", "-q", "--filter", f"name={own}")
            assert (left, walls, networks) == ("", [], "")


def ready(events: list[dict[str, Any]]) -> None:
    """The launch has ended well."""
    assert events[-1]["phase"] == "ready", "".join(log_of(events)) + str(events[-1])


def served(place: DockerPlace, name: str, lines: int = 1) -> str:
    """A new repository of a Dockerfile, and its spec."""
    Repo.create(place.repositories, name).commit({"Dockerfile": SERVED.format(own=secrets.token_hex(8), lines=lines)})
    return place.path(name)


async def test_links_become_servers_and_new_content_needs_no_build(place: DockerPlace) -> None:
    Repo.create(place.repositories, "planted.git").commit(PLANTED)
    Repo.create(place.repositories, "broken.git").commit({"Dockerfile": f"FROM {lab.SMALL}\nRUN nonsense-command\n"})
    events, planted, broken = await asyncio.gather(
        place.launch(place.served), place.launch(f"{place.path('planted.git')}?build_only=true"), place.launch(place.path("broken.git")))
    ready(events)
    assert (await place.api(events[-1], "api/status"))["kernels"] == 0
    running = lab.docker("ps", "-q", "--filter", f"label=dockyard.installation={place.installation}", "--filter", "label=dockyard.server")
    bounds = json.loads(lab.docker("inspect", running))[0]["HostConfig"]
    assert (bounds["Memory"], bounds["MemorySwap"], bounds["PidsLimit"]) == (2 << 30, 2 << 30, 512)
    assert bounds["CapDrop"] == ["ALL"]
    assert (bounds["CapAdd"], bounds["Privileged"], bounds["NetworkMode"]) == (None, False, place.installation)
    assert "no-new-privileges" in bounds["SecurityOpt"]
    ready(planted)
    assert broken[-1]["phase"] == "failed"
    assert "nonsense-command" in broken[-1]["message"]
    repo = Repo.create(place.repositories, "asked.git")
    repo.commit({"requirements.txt": "tqdm\nsix==1.16.0\n", "data.txt": "first\n"})  # an environment that no other test has made
    events = await place.launch(place.path("asked.git"))
    ready(events)
    assert (await compute(events[-1], "import tqdm; print(hasattr(tqdm, 'trange'), open('data.txt').read())")).split() == ["True", "first"]
    repo.commit({"data.txt": "second\n"})
    events = await place.launch(place.path("asked.git"))
    ready(events)
    assert (await place.api(events[-1], "api/contents/data.txt"))["content"] == "second\n"
    assert any("The content is one layer" in line for line in log_of(events))
    assert not any("Using" in line for line in log_of(events)), "repo2docker was asked"
    before = await place.asked()
    again = await place.launch(place.path("asked.git"))
    assert next(event["phase"] for event in again if event["phase"] != "waiting") == "built"
    assert await place.asked() == before


async def test_a_killed_worker_is_replaced_and_the_container_goes_on(place: DockerPlace) -> None:
    spec = served(place, "slow.git", lines=60)
    async with place.stream(spec) as stream:
        seen = [await stream.until(lambda event: "line 5" in event["message"])]
        before = await asyncio.to_thread(started, place)
        assert len(before) == 1
        place.part("worker").kill()
        later = dict[str, str]()
        async for event in stream:
            seen.append(event)
            if "line " in event["message"] and not later:  # what the next worker has read
                later = await asyncio.to_thread(started, place)
            if event["phase"] in ("ready", "failed"):
                break
    ready(seen)
    assert later == before
    launch = (await place.client.get(f"/api/v1/launches/{seen[-1]['id'].split('.')[0]}")).json()
    killed = await log(place, launch["build"])
    if place.up.environ["DOCKYARD_DOCKER_BUILDER"] == "contained":  # an engine would tell of its cache
        assert await log(place, await rebuilt(place, spec)) == killed
    assert [int(found) for found in re.findall(r"line (\d+)$", "\n".join(killed), re.MULTILINE)] == list(range(1, 61))


def started(place: DockerPlace) -> dict[str, str]:
    """Ids of the build containers, with the times of their start."""
    return {found: lab.docker("inspect", "-f", "{{.State.StartedAt}}", found.split()[1]) for found in place.builds()}


async def rebuilt(place: DockerPlace, spec: str) -> str:
    """Build a commit once more, with nobody killed; the build's id."""
    asked = {"provider": "git", "spec": spec.removeprefix("git/"), "rebuild": True, "build_only": True}
    launch = (await place.client.post("/api/v1/launches", json=asked)).json()
    async with asyncio.timeout(120):
        while launch["state"] not in ("done", "failed"):
            await asyncio.sleep(0.5)
            launch = (await place.client.get(f"/api/v1/launches/{launch['id']}")).json()
    assert launch["state"] == "done", launch
    return str(launch["build"])


async def log(place: DockerPlace, build: str) -> list[str]:
    """The lines of a build, with digests and times, which differ each time, masked."""
    answer = await place.client.get(f"/api/v1/builds/{build}/log")
    return [re.sub(r"\b[0-9a-f]{11,64}\b|\b\d+\.\d+s?\b", "…", line) for line in answer.text.splitlines()]


async def test_without_the_registry_what_was_built_goes_on_and_nothing_is_built(place: DockerPlace) -> None:
    events = await place.launch(place.served)
    ready(events)
    await place.stop(events)
    before = await place.asked()
    place.registry.stop()
    try:
        results = await asyncio.gather(*(place.launch(place.served) for _ in range(LAUNCHES)))
        never = await place.launch(served(place, "unknown.git"))
    finally:
        place.registry.start()
    assert [events[-1]["phase"] for events in results] == ["ready"] * LAUNCHES, results
    for events in results:
        await place.stop(events)
    assert never[-1]["phase"] == "failed"
    assert "registry" in never[-1]["message"]
    assert await place.asked() == before
    assert place.builds() == []
