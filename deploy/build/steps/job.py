"""The job, as the worker has written it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORK = Path("/build")  # the build's volume: everything that it writes, and nothing else can be written
PLACE = WORK / "dockyard"
OUT = WORK / "out"
AUTHORITIES = WORK / "authorities.pem"


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt to build one image. `services.runtimes.docker.order` writes it."""

    repo_url: str
    commit: str
    image: str
    mode: str  # "engine" or "contained"
    push: bool = False
    branch: str = ""  # what to fetch where the server refuses a commit id
    subdir: str = ""  # of the repository: what is built
    environment: dict[str, Any] | None = None  # the environment's repository, where it is another: repo_url, commit, branch, files
    files: list[dict[str, Any]] = field(default_factory=list)  # of a published record, instead of git's; see services.records
    bytes: int = 4 << 30  # that a record may have
    environment_image: str = ""  # name of environments, the tag still to come; "" where content layers are off
    no_cache: bool = False
    uv: bool = False
    jupyter: list[str] = field(default_factory=list)  # requirements of every environment of uv; empty: uv/jupyter.txt
    base_image: str = ""
    default_buildpack: str = ""
    appendix: str = ""
    arguments: list[str] = field(default_factory=list)
    deadline: float = 3600.0  # seconds
    patience: float = 60.0  # seconds that a server which is away is waited for
    registry: dict[str, str] = field(default_factory=dict, repr=False)  # repo2docker's registry_credentials, or registry and identitytoken


def read() -> Job:
    """Read the job and remove it: secrets do not stay in a file."""
    path = PLACE / "job.json"
    PLACE.chmod(0o700)
    job = Job(**json.loads(path.read_text()))
    path.unlink()
    return job


def trust() -> None:
    """Add the installation's certificate authorities to the system's, for this process and what it starts."""
    extra = PLACE / "ca.crt"
    if not extra.exists():
        return
    AUTHORITIES.write_bytes(Path("/etc/ssl/certs/ca-certificates.crt").read_bytes() + b"\n" + extra.read_bytes())
    os.environ |= dict.fromkeys(("SSL_CERT_FILE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(AUTHORITIES))


def environment(job: Job) -> dict[str, str]:
    """The environment of repo2docker."""
    found = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    found |= {
        "DOCKYARD_UV": "1" if job.uv else "", "DOCKYARD_DEFAULT_BUILDPACK": job.default_buildpack,
        "BUILDAH_ISOLATION": "chroot", "HOME": "/root",
    }
    if job.jupyter:
        found["DOCKYARD_JUPYTER"] = str(PLACE / "jupyter.txt")
        (PLACE / "jupyter.txt").write_text("\n".join([*job.jupyter, ""]))
    if token := job.registry.get("identitytoken"):  # repo2docker knows none, buildx does
        config = PLACE / "docker"
        config.mkdir(mode=0o700, exist_ok=True)
        (config / "config.json").write_text(json.dumps({"auths": {job.registry["registry"]: {"identitytoken": token}}}))
        found["DOCKER_CONFIG"] = str(config)
    elif job.registry:
        found["CONTAINER_ENGINE_REGISTRY_CREDENTIALS"] = json.dumps(job.registry)
    return found
