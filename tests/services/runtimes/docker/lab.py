"""A real engine, registry and git server for the tests of this folder, and the reason where there are none."""

import ipaddress
import json
import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.runtimes.base import BuildItem, BuildJob, Exit, Lines, LogLine, Phase, Plan
from services.runtimes.docker import DockerRuntime, make
from services.runtimes.docker.wall import chain
from services.settings import Settings, load
from tests.registryserver import PROGRAM, RegistryServer

ROOT = Path(__file__).resolve().parents[4]
IMAGE = "dockyard/build:test"
DEBIAN, SMALL = "docker.io/library/debian:bookworm-slim", "docker.io/library/python:3.11-slim-bookworm"
BASE = "docker.io/library/buildpack-deps:bookworm"
# Made from Debian's: what repo2docker starts from here, and what a Dockerfile with a server does. Every new registry is sent them,
# so they are small: what repo2docker would install anyway, and an old Jupyter without JupyterLab.
TINY, SERVING = "docker.io/dockyard/tests-base:1", "docker.io/dockyard/tests-server:1"
JUPYTER = "notebook==6.5.*"
MADE = {
    TINY: f"FROM {DEBIAN}\nRUN apt-get -qq update && apt-get -yqq install --no-install-recommends "
          "ca-certificates gettext-base git less locales python3 python3-venv unzip >/dev/null && apt-get clean && "
          "rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /usr/share/doc/* /usr/share/locale/*\n",
    SERVING: f"FROM {TINY}\nRUN useradd -m -u 1000 jovyan && python3 -m venv /srv/venv && "
             f"/srv/venv/bin/pip install -q --no-cache-dir '{JUPYTER}'\n"
             "ENV PATH=/srv/venv/bin:$PATH HOME=/home/jovyan\nUSER 1000\nWORKDIR /home/jovyan\n",
}


def docker(*words: str, check: bool = True, given: str = "") -> str:
    """The output of the command line, for what a test wants to see with other eyes."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=check, timeout=300, input=given).stdout.strip()


def reason() -> str:
    """Why these tests cannot run here, or ""."""
    if not shutil.which("docker"):
        return "no docker command"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "no Docker engine answers"
    if subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode:
        return "the engine has no buildx"
    if PROGRAM is None:
        return "no docker-registry (Debian's package of that name)"
    for name in (DEBIAN, SMALL):
        if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode:
            return f"the engine has no image {name}"
    return ""


def make_bases() -> None:
    """Make the images that those of the tests begin with; quick where nothing has changed."""
    for name, dockerfile in MADE.items():
        docker("buildx", "build", "-q", "-t", name, "-", given=dockerfile)


def build_image() -> None:
    """Make the image that builds run in, and the bases; quick where nothing has changed."""
    make_bases()
    docker("buildx", "build", "-q", "--build-arg", f"BASE={SMALL}", "-t", IMAGE, "-f", str(ROOT / "deploy/build/Dockerfile"), str(ROOT))


def gateway() -> str:
    """Where containers find this machine."""
    found = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
    return str(found.get("Gateway") or ipaddress.ip_network(found["Subnet"])[1])


def names() -> str:
    """The names of all images on the engine."""
    return docker("images", "--format", "{{.Repository}}:{{.Tag}}")


def forget(host: str) -> None:
    """Remove the engine's copies of what a registry that is no more has held."""
    if left := [name for name in names().split() if name.startswith(f"{host}/") and not name.endswith("<none>")]:
        docker("rmi", "-f", *left, check=False)


def walls(image: str, *networks: str) -> list[str]:
    """The rules of the machine's packet filter for these networks."""
    chains = [chain(network) for network in networks]
    words = ("--rm", "--network=host", "--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--entrypoint=sh", image)
    said = docker("run", *words, "-c", "iptables-nft -S; iptables-legacy -S")
    return [line for line in said.splitlines() if any(name in line for name in chains)]


def settings(registry: RegistryServer | None, builder: str, **more: object) -> Settings:
    """Settings of the runtime, with the registry or with the engine's own store."""
    return load(environment(registry, builder, **more))


def environment(registry: RegistryServer | None, builder: str, **more: object) -> dict[str, str]:
    """The same, as variables."""
    environ = {
        "DOCKYARD_RUNTIME_NAME": "docker", "DOCKYARD_DOCKER_BUILD_IMAGE": IMAGE, "DOCKYARD_DOCKER_BUILDER": builder,
        "DOCKYARD_DOCKER_BASE_IMAGE": TINY, "DOCKYARD_DOCKER_BASES": f"{SMALL},{SERVING}", "DOCKYARD_DOCKER_UV": "true",
        "DOCKYARD_DOCKER_JUPYTER": JUPYTER,
        "DOCKYARD_DOCKER_INSTALLATION": "tests", "DOCKYARD_BUILDS_IMAGE_PREFIX": "tests/r2d-", "DOCKYARD_BUILDS_TIMEOUT": "200",
        "DOCKYARD_EGRESS_PRIVATE": "true",  # the git server is on this machine
    }
    if registry is not None:
        environ |= {"DOCKYARD_REGISTRY_URL": registry.url, "DOCKYARD_BUILDS_IMAGE_PREFIX": f"{registry.host}/tests/r2d-"}
    return environ | {f"DOCKYARD_{key.upper()}": str(value) for key, value in more.items()}


@dataclass
class Told:
    """All that a build has said."""

    lines: dict[int, LogLine] = field(default_factory=dict)
    phases: list[str] = field(default_factory=list)
    plan: Plan | None = None
    end: Exit | None = None

    @property
    def text(self) -> str:
        """The log."""
        return "".join(line.message for _, line in sorted(self.lines.items()))

    def hear(self, item: BuildItem) -> None:
        """Keep one item."""
        match item:
            case Lines(first, lines):
                self.lines.update(enumerate(lines, first))
            case Phase(state):
                self.phases.append(str(state))
            case Plan():
                self.plan = item
            case Exit():
                self.end = item


def job(url: str, commit: str, image: str, **more: Any) -> BuildJob:
    """An attempt with an id of its own."""
    return BuildJob(id=secrets.token_hex(16), attempt=1, image=image, provider="git", repo_url=url, commit=commit, **more)


async def build(runtime: DockerRuntime, work: BuildJob, *, keep: bool = False) -> Told:
    """A build as the worker drives it."""
    told = Told()
    try:
        await runtime.builder.start(work)
        async for item in runtime.builder.follow(work, 1):
            told.hear(item)
            if isinstance(item, Plan):
                await runtime.builder.proceed(work, await runtime.images.environment_exists(item.environment))
    finally:
        if not keep:
            await runtime.builder.remove(work.handle)
    assert told.end is not None
    return told


def runtime(registry: RegistryServer | None, builder: str, **more: object) -> DockerRuntime:
    """The runtime on these settings."""
    return make(settings(registry, builder, **more))
