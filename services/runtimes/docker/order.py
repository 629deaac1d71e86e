"""From a job to a container: its name, limits, mounts, and the file that tells the steps inside what to do.

What is in the order can be read by everybody who may ask the engine; secrets go into `job.json` and `logins.json`, which the steps
remove as soon as they have read them. With the contained builder the registry's password is not even in there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.egress.logins import Logins
from services.errors import Misconfigured
from services.registry.credentials import Credentials
from services.runtimes.base import BuildJob, Source
from services.runtimes.docker.containers import Order
from services.settings import BuildSettings, DockerSettings, RegistrySettings

WORK = "/build"  # the build's volume: everything that it writes
BUILD, SERVER, OURS = "dockyard.build", "dockyard.server", "dockyard.installation"
_PROFILE = Path(__file__).resolve().parents[3] / "deploy" / "build" / "seccomp.json"
# What a builder needs to unpack files of other owners; no others, and none over the host.
_BUILDER = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that a build depends on."""

    docker: DockerSettings
    builds: BuildSettings
    registry: RegistrySettings
    logins: Logins

    @property
    def pushes(self) -> bool:
        """Whether images go to a registry."""
        return bool(self.registry.url)

    @property
    def environments(self) -> str:
        """The repository of environments, without a tag; "" where content layers are off."""
        return f"{self.builds.image_prefix}environments" if self.docker.layers and self.pushes else ""

    @property
    def ours(self) -> str:
        """The label that tells this installation's containers from another's."""
        return f"{OURS}={self.docker.installation}"


def volume(handle: str) -> str:
    """The name of a build's volume."""
    return f"{handle}-work"


def disk(handle: str) -> str:
    """The name of the container that measures it."""
    return f"{handle}-disk"


def labels(recipe: Recipe, handle: str) -> dict[str, str]:
    """What containers and volumes of a build are found by."""
    return recipe.docker.further_labels() | {BUILD: handle, OURS: recipe.docker.installation}


def build_order(recipe: Recipe, job: BuildJob, bases: str) -> Order:
    """The build container. `bases` is the volume of shared base images, or ""."""
    settings, contained = recipe.docker, recipe.docker.builder == "contained"
    mounts: list[tuple[str, str, bool]] = [(volume(job.handle), WORK, False)]
    if contained:
        mounts += [(bases, "/bases", True)] if bases else []
    else:
        mounts.append((settings.socket, "/var/run/docker.sock", False))
    return Order(
        name=job.handle, image=settings.build_image, labels=labels(recipe, job.handle) | {"dockyard.image": job.image},
        environment={"TMPDIR": f"{WORK}/tmp", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}, mounts=tuple(mounts),  # noqa: S108
        tmpfs={"/run": "rw,nosuid,nodev,size=16m", "/tmp": "rw,nosuid,nodev,size=64m", "/root": "rw,nosuid,nodev,size=16m"},  # noqa: S108
        network=settings.builds_network(), memory=settings.build_memory, cpus=settings.build_cpus, processes=settings.build_processes,
        log_bytes=2 * settings.build_log_bytes,
        security=security(settings) if contained else ("no-new-privileges",),
        capabilities=_BUILDER if contained else ("CHOWN", "DAC_OVERRIDE", "FOWNER"), read_only=True,
    )


def security(settings: DockerSettings) -> tuple[str, ...]:
    """Contained builds make user namespaces and mounts, which the default profiles forbid."""
    profile = settings.seccomp or str(_PROFILE)
    if profile != "unconfined":
        try:
            profile = json.dumps(json.loads(Path(profile).read_text()))
        except (OSError, ValueError) as error:
            raise Misconfigured(f"Setting docker.seccomp: {profile} cannot be read as JSON.") from error
    return ("no-new-privileges", f"seccomp={profile}", "apparmor=unconfined")


def disk_order(recipe: Recipe, handle: str) -> Order:
    """A container that tells how much the build's volume holds; outside of the build, so that it cannot be fooled."""
    return Order(
        name=disk(handle), image=recipe.docker.build_image, command=("usage", WORK), labels=labels(recipe, handle) | {"dockyard.disk": "1"},
        mounts=((volume(handle), WORK, True),), network="none", memory=128 << 20, processes=16, log_bytes=1 << 20,
        security=("no-new-privileges",), capabilities=("DAC_READ_SEARCH",), read_only=True,
    )


def job_files(recipe: Recipe, job: BuildJob, credentials: Mapping[str, str]) -> dict[str, bytes]:
    """The files that the steps find in their volume. `credentials` are those of `registry_login`."""
    settings = recipe.docker
    contained = settings.builder == "contained"
    appendix = settings.appendix.replace("{repo_url}", job.repo_url).replace("{binder_url}", job.options.get("binder_url", ""))
    content = {
        "repo_url": job.repo_url, "commit": job.commit, "branch": job.ref, "subdir": job.subdir, "environment": repository(job.environment),
        "files": [file.told() for file in job.files], "bytes": settings.build_bytes // 4, "image": job.image, "mode": settings.builder,
        "push": recipe.pushes, "environment_image": recipe.environments, "no_cache": job.no_cache, "uv": settings.uv,
        "jupyter": settings.jupyter,
        "base_image": settings.base_image, "default_buildpack": settings.default_buildpack, "appendix": appendix,
        "arguments": settings.repo2docker_args, "deadline": recipe.builds.timeout, "patience": recipe.builds.patience,
        "registry": {} if contained else dict(credentials),
    }
    files = {"dockyard/job.json": json.dumps(content).encode()}
    if logins := recipe.logins.for_sources(job.sources):
        files["dockyard/logins.json"] = logins.encode()
    if settings.ca:
        try:
            files["dockyard/ca.crt"] = Path(settings.ca).read_bytes()
        except OSError as error:
            raise Misconfigured(f"Setting docker.ca: {settings.ca} cannot be read ({error.strerror}).") from error
    return files


def repository(source: Source | None) -> dict[str, Any] | None:
    """The environment's repository as the steps have it."""
    if source is None:
        return None
    files = [file.told() for file in source.files]
    return {"repo_url": source.repo_url, "commit": source.commit, "branch": source.ref, "files": files}


def registry_login(recipe: Recipe, job: BuildJob, known: Credentials) -> dict[str, str]:
    """repo2docker's credentials for the registry in the image's name, or Docker's `identitytoken`; none for an anonymous one."""
    if not (known.username or known.identity) or not recipe.pushes:
        return {}
    first = job.image.partition("/")[0]
    host = first if "." in first or ":" in first or first == "localhost" else urlsplit(recipe.registry.url).netloc
    if known.identity:
        return {"registry": host, "identitytoken": known.identity}
    return {"registry": host, "username": known.username, "password": known.password}
