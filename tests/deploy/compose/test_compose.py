"""docker-compose.yml, its secrets, and the monitoring beside it; with the images that it names at hand, a launch through all of it."""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.gitserver import GitServer, Repo
from tests.services.registry.servers import free_port
from tests.services.runtimes.docker import lab
from tests.stack import ROOT

NAMED = {"DOCKYARD_POSTGRES_IMAGE": "postgres:18", "DOCKYARD_VALKEY_IMAGE": "valkey/valkey:9", "DOCKYARD_REGISTRY_IMAGE": "registry:2"}
OURS = {"postgres", "valkey", "registry", "migrations", "build-image", "proxy", "hub", "api", "worker", "launcher", "reaper"}


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
    assert sockets == {"hub", "worker", "reaper"}


def test_alerts_and_dashboard_ask_for_numbers_that_there_are() -> None:
    known = set(re.findall(r'"((?:binderhub|dockyard)_\w+)"', (ROOT / "api/metrics.py").read_text()))
    monitoring = ROOT / "deploy/monitoring"
    asked = (monitoring / "prometheus/rules.yml").read_text() + (monitoring / "grafana/dashboards/dockyard.json").read_text()
    found = set(re.findall(r"\b(?:binderhub|dockyard)_\w+", asked))
    assert {re.sub(r"_(bucket|total)$", "", name) for name in found} <= known
    assert len(json.loads((monitoring / "grafana/dashboards/dockyard.json").read_text())["panels"]) == 9


# -- all of it, where the images are ---------------------------------------------------------------------------------------


class Composed:
    """One `docker compose` project on ports and names of its own."""

    def __init__(self, secrets: Path) -> None:
        self.port, self.servers = free_port(), free_port()
        self.name = f"dockyard-test-{os.getpid()}"
        self.environ = os.environ | {
            "DOCKYARD_SECRETS": str(secrets), "DOCKYARD_PORT": str(self.port), "DOCKYARD_SERVERS_PORT": str(self.servers),
            "DOCKYARD_REGISTRY_PORT": str(free_port()), "DOCKYARD_SERVERS_NETWORK": f"{self.name}-servers",
            "DOCKYARD_DOCKER_GROUP": str(Path("/var/run/docker.sock").stat().st_gid), "DOCKYARD_PYTHON_IMAGE": lab.SMALL,
            "DOCKYARD_APP_IMAGE": "dockyard/app:compose-test", "DOCKYARD_HUB_IMAGE": "dockyard/hub:compose-test",
            "DOCKYARD_DOCKER_BUILD_IMAGE": "dockyard/build:compose-test", "DOCKYARD_DOCKER_BUILDER": "engine",
            "DOCKYARD_EGRESS_PRIVATE": "true", "COMPOSE_PROGRESS": "quiet",
        }

    def run(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", "-p", self.name, "-f", str(ROOT / "docker-compose.yml"), *words],
            env=self.environ, capture_output=True, text=True, check=False, timeout=900)
        assert not (check and done.returncode), done.stdout + done.stderr
        return done.stdout

    def open(self, path: str, **headers: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers), timeout=300)

    def until_healthy(self) -> None:
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError, urllib.error.HTTPError), self.open("/health") as answer:
                if answer.status == 200:
                    return
            assert time.monotonic() < deadline, self.run("ps", "-a", check=False)
            time.sleep(0.5)

    def launch(self, spec: str) -> dict[str, Any]:
        with self.open(f"/build/{spec}", Accept="text/event-stream") as stream:
            for raw in stream:
                if raw.startswith(b"data: "):
                    event: dict[str, Any] = json.loads(raw[6:])
                    if event["phase"] in ("ready", "failed"):
                        return event
        raise AssertionError("the stream ended before the launch")


@pytest.fixture
def composed(secrets: Path) -> Iterator[Composed]:
    if not compose_here():
        pytest.skip("no docker compose")
    if why := lab.reason():
        pytest.skip(why)
    missing = [name for name in (*NAMED.values(), lab.SMALL, lab.BASE) if not lab.docker("images", "-q", name)]
    if missing:
        pytest.skip(f"the engine has no image {', '.join(missing)}")
    found = Composed(secrets)
    found.run("up", "-d", "--build")
    try:
        found.until_healthy()
        yield found
    finally:
        found.run("down", "-v", "--remove-orphans", "-t", "5", check=False)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_launch_goes_through_all_services_and_down_leaves_nothing(composed: Composed, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path, "served.git")
    commit = repo.commit({"Dockerfile": (
        f"FROM {lab.BASE}\nRUN useradd -m -u 1000 jovyan\nUSER 1000\nWORKDIR /home/jovyan\n"
        "ENV PATH=/srv/venv/bin:$PATH HOME=/home/jovyan\n")})
    with GitServer(tmp_path, host=lab.gateway()) as server:
        spec = f"git/{quote(server.url('served.git'), safe='')}/{commit}"
        event = composed.launch(spec)
        assert event["phase"] == "ready", event
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{event['url']}api/status?token={event['token']}", timeout=30) as answer:
            assert answer.status == 200
        for name in ("worker", "launcher", "valkey", "hub", "api"):
            composed.run("restart", "-t", "15", name)
        composed.until_healthy()
        with opener.open(f"{event['url']}api/status?token={event['token']}", timeout=30) as answer:
            assert answer.status == 200
        assert composed.launch(spec)["phase"] == "ready"
    composed.run("down", "--remove-orphans", "-t", "5")
    assert composed.run("ps", "-aq") == ""
    assert f"{composed.name}-servers" not in lab.docker("network", "ls", "--format", "{{.Name}}")
