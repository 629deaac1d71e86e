"""docker-compose.yml, its secrets, and the monitoring beside it; with the images that it names at hand, a launch through all of it."""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.ports import free_port
from dockyard_client import Client, Launch
from tests.gitserver import GitServer, Repo
from tests.services.runtimes.docker import lab
from tests.stack import ROOT

NAMED = {"DOCKYARD_POSTGRES_IMAGE": "postgres:18", "DOCKYARD_VALKEY_IMAGE": "valkey/valkey:9", "DOCKYARD_REGISTRY_IMAGE": "registry:2"}
# Each once, two at a time: a pair takes as long as one, and what one may lose another has to hold.
RESTARTED = (("worker", "valkey"), ("launcher", "registry"), ("reaper", "proxy"), ("api", "postgres"), ("hub", "closer"))
OURS = {service for pair in RESTARTED for service in pair} | {"migrations", "build-image"}
PROJECT, OURS_ON_THE_ENGINE = "com.docker.compose.project", "dockyard.installation"


def compose_here() -> bool:
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("secrets") / "made"
    subprocess.run([str(ROOT / "deploy/compose/secrets"), str(directory)], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def config(secrets: Path) -> dict[str, Any]:
    if not compose_here():
        pytest.skip("no docker compose")
    environ = os.environ | {"DOCKYARD_SECRETS": str(secrets)}
    done = subprocess.run(
        ["docker", "compose", "-f", str(ROOT / "docker-compose.yml"), "--profile", "monitoring", "config", "--format", "json"],
        env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_secrets_are_made_once_for_our_eyes(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len(before["key"]) == 64
    assert before["postgres-password"] in before["database-url"]
    assert len(set(before.values())) == len(before)
    subprocess.run([str(ROOT / "deploy/compose/secrets"), str(secrets)], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before


def test_the_file_is_valid_and_has_all_parts(config: dict[str, Any]) -> None:
    assert set(config["services"]) == OURS | {"prometheus", "grafana"}
    for name, service in config["services"].items():
        if name not in {"build-image", "migrations"}:
            assert service["restart"] == "unless-stopped", name
    for name in ("api", "worker", "launcher", "reaper"):
        service = config["services"][name]
        assert service["depends_on"]["migrations"]["condition"] == "service_completed_successfully"
        assert service["stop_grace_period"] == "15s"
        assert service["read_only"]
    for name in ("postgres", "valkey", "hub", "api"):
        assert config["services"][name]["healthcheck"]["test"], name


def test_no_secret_stands_in_the_file_and_only_loopback_is_published(config: dict[str, Any], secrets: Path) -> None:
    text = json.dumps(config)
    assert not [path.name for path in secrets.iterdir() if path.read_text() in text]
    for name, service in config["services"].items():
        for port in service.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1", name


def test_of_the_control_plane_only_hub_and_proxy_are_in_the_servers_network(config: dict[str, Any]) -> None:
    assert {name for name, service in config["services"].items() if "servers" in (service.get("networks") or {})} == {"hub", "proxy"}
    assert "proxy-control" in config["services"]["proxy"]["command"]
    mounted = {name: [volume["source"] for volume in service.get("volumes", ())] for name, service in config["services"].items()}
    sockets = {name for name, sources in mounted.items() if any("docker.sock" in source for source in sources)}
    assert sockets == {"hub", "worker", "reaper", "closer"}


def test_alerts_and_dashboard_ask_for_numbers_that_there_are() -> None:
    sources = "".join((ROOT / name).read_text() for name in ("api/metrics.py", "services/lifecycle/numbers.py", "reaper/outlets.py"))
    known = set(re.findall(r'"((?:binderhub|dockyard)_\w+)"', sources))
    monitoring = ROOT / "deploy/monitoring"
    asked = (monitoring / "prometheus/rules.yml").read_text() + (monitoring / "grafana/dashboards/dockyard.json").read_text()
    found = set(re.findall(r"\b(?:binderhub|dockyard)_\w+", asked))
    assert {re.sub(r"_(bucket|total)$", "", name) for name in found} <= known
    assert len(json.loads((monitoring / "grafana/dashboards/dockyard.json").read_text())["panels"]) == 12


# -- all of it, where the images are ---------------------------------------------------------------------------------------


class Composed:
    """One `docker compose` project on ports and names of its own."""

    def __init__(self, secrets: Path) -> None:
        self.port, self.servers = free_port(), free_port()
        self.name = f"dockyard-test-{os.getpid()}"
        self.base = f"http://127.0.0.1:{self.port}"
        self.environ = os.environ | {
            "DOCKYARD_SECRETS": str(secrets), "DOCKYARD_PORT": str(self.port), "DOCKYARD_SERVERS_PORT": str(self.servers),
            "DOCKYARD_REGISTRY_PORT": str(free_port()), "DOCKYARD_SERVERS_NETWORK": f"{self.name}-servers",
            "DOCKYARD_DOCKER_GROUP": str(Path("/var/run/docker.sock").stat().st_gid), "DOCKYARD_PYTHON_IMAGE": lab.SMALL,
            "DOCKYARD_APP_IMAGE": "dockyard/app:compose-test", "DOCKYARD_HUB_IMAGE": "dockyard/hub:compose-test",
            "DOCKYARD_DOCKER_BUILD_IMAGE": "dockyard/build:compose-test", "DOCKYARD_DOCKER_BUILDER": "engine",
            "DOCKYARD_DOCKER_BASE_IMAGE": lab.TINY, "DOCKYARD_DOCKER_UV": "true", "DOCKYARD_DOCKER_JUPYTER": lab.JUPYTER,
            "DOCKYARD_EGRESS_PRIVATE": "true",
            "DOCKYARD_LEASES_DRAIN": "2", "COMPOSE_PROGRESS": "quiet",
        }

    def run(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", "-p", self.name, "-f", str(ROOT / "docker-compose.yml"), *words],
            env=self.environ, capture_output=True, text=True, check=False, timeout=900)
        assert not (check and done.returncode), (done.stdout + done.stderr)[-3000:]
        return done.stdout

    def until_healthy(self) -> None:
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.base}/health", timeout=10).status_code == 200:
                    return
            assert time.monotonic() < deadline, self.run("ps", "-a", check=False)
            time.sleep(0.5)

    def left(self) -> dict[str, str]:
        """What the engine has of the project or of what that has started, volumes aside."""
        found = {label: lab.docker("ps", "-aq", "--filter", f"label={label}={self.name}") for label in (PROJECT, OURS_ON_THE_ENGINE)}
        walls = lab.walls(self.environ["DOCKYARD_DOCKER_BUILD_IMAGE"], f"{self.name}-servers", f"{self.name}-builds")
        return found | {"networks": lab.docker("network", "ls", "-q", "--filter", f"name={self.name}"), "walls": "\n".join(walls)}


@pytest.fixture
def composed(secrets: Path) -> Iterator[Composed]:
    if not compose_here():
        pytest.skip("no docker compose")
    if why := lab.reason():
        pytest.skip(why)
    missing = [name for name in NAMED.values() if not lab.docker("image", "inspect", "-f", "found", name, check=False)]
    if missing:
        pytest.skip(f"the engine has no image {', '.join(missing)}")
    lab.make_bases()
    found = Composed(secrets)
    try:
        found.run("up", "-d")
        found.until_healthy()
        yield found
    finally:
        found.run("down", "-v", "-t", "5", check=False)
        lab.forget(f"127.0.0.1:{found.environ['DOCKYARD_REGISTRY_PORT']}")


def answers(launch: Launch) -> bool:
    """Whether the launch's server does, through the proxy; a proxy or hub that has just come back has some seconds to know it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{launch.url}api/status", params={"token": launch.token or ""}, timeout=10).status_code == 200:
                return True
        time.sleep(0.5)
    return False


def waiting(word: str) -> str:
    """A Dockerfile of a Jupyter server whose build takes a while."""
    return f"FROM {lab.SERVING}\nRUN : {word}; sleep 5\n"


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_service_may_be_restarted_under_launches_and_down_leaves_nothing(composed: Composed, tmp_path: Path) -> None:
    """Each service once, with a launch under way that began just before; the server of the first launch lives through all."""
    with GitServer(tmp_path, host=lab.gateway()) as server, Client(composed.base) as dockyard:
        asked = Repo.create(tmp_path, "asked.git")

        def launch(name: str) -> str:
            """Of a Dockerfile; or, where the worker or the hub restarts, of requirements, the second time with other content only."""
            if name in ("worker", "hub"):
                asked.commit({"requirements.txt": "six==1.16.0\n", "data.txt": name})
                return dockyard.launches.create(server.url("asked.git")).id
            Repo.create(tmp_path, f"{name}.git").commit({"Dockerfile": waiting(f"{composed.name}-{name}")})
            return dockyard.launches.create(server.url(f"{name}.git")).id

        first = dockyard.launches.wait(launch("first"))
        assert first.state == "ready", first.reason
        assert answers(first)
        for services in RESTARTED:
            under_way = launch(services[0])
            composed.run("restart", "-t", "15", *services)
            composed.until_healthy()
            ended = dockyard.launches.wait(under_way)
            assert ended.state == "ready", (services, ended.reason)
            assert answers(ended), services
            if services[0] in ("worker", "hub"):
                data = httpx.get(f"{ended.url}files/data.txt", params={"token": ended.token or ""}, timeout=10)
                assert data.text == services[0]
                assert ended.build
                said = dockyard.builds.log(ended.build)
                assert "The content is one layer" in said
                assert ("BuildPack" in said) == (services[0] == "worker"), "a build where only content has changed"
            dockyard.launches.stop(under_way)
        assert answers(first)
        assert dockyard.launches.get(first.id).state == "ready"
        dockyard.launches.create(server.url("first.git"), rebuild=True)  # it is building, and a server runs
    assert all(composed.left().values())
    composed.run("down", "-t", "15")  # a time of ours is the closer's too
    assert composed.left() == dict.fromkeys((PROJECT, OURS_ON_THE_ENGINE, "networks", "walls"), "")
