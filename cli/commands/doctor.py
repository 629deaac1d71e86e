"""`dockyard doctor`: what this machine can run, tried and not guessed, and what to install for the rest."""

import asyncio
import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import services.settings
from cli.embedded.account import service_account
from cli.embedded.home import default_path
from cli.embedded.node import system_node
from services.errors import DockyardError

SANDBOX = (
    "--unshare-all", "--disable-userns", "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
    "--tmpfs", "/tmp", "--cap-drop", "ALL", "--die-with-parent", "--", "/bin/true",  # noqa: S108 - inside of the sandbox
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    good: bool
    text: str
    needed: bool = False  # the embedded default does not work without it


def doctor() -> int:
    """Print all findings; fails if the embedded default cannot run here."""
    broken = False
    for title, findings in (("This machine", machine()), ("Runtime local (the default)", local()), ("Other runtimes", others())):
        print(title)
        for finding in findings:
            mark = "ok  " if finding.good else "NO  " if finding.needed else "--  "
            print(f"  {mark}{finding.text}", flush=True)
            broken = broken or (finding.needed and not finding.good)
        print()
    print("The embedded default cannot run here: see NO above." if broken else "./dockyard up can run here.")
    return 1 if broken else 0


def machine() -> Iterator[Finding]:
    """Python, disk, memory, files."""
    yield Finding(sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}", needed=True)
    path = default_path()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    yield Finding(free > 5 << 30, f"{free >> 30} GB free for {path}; environments take 0.3 to 3 GB each", needed=free < 1 << 30)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding(memory > 2 << 30, f"{memory / (1 << 30):.1f} GB of memory; Dockyard takes 0.6 GB, a server 0.1 GB and more")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    yield Finding(files >= 4096, f"{files} open files per process (ulimit -Hn); each open page is one")
    try:
        account = service_account()
    except DockyardError as error:
        yield Finding(False, error.sentence, needed=True)
    else:
        who = f"root; the database and the front door run as the account {account.name}" if account else "an ordinary user"
        yield Finding(True, f"started as {who}")


def local() -> Iterator[Finding]:
    """Sandbox, limits, git, Node.js."""
    yield sandbox()
    yield limits()
    git = shutil.which("git")
    said = "git fetches repositories" if git else "git is missing: install it (apt install git)"
    yield Finding(git is not None, said, needed=True)
    account = service_account()
    node = system_node(account)
    said = f"Node.js at {node.node[0]}" if node else "Node.js >= 20 with npm is not here; up fetches its own, 200 MB, once"
    yield Finding(True, said)


def sandbox() -> Finding:
    """Start a sandbox like those of builds and servers."""
    from services.runtimes.local.tools import bubblewrap

    if sys.platform != "linux":
        return Finding(False, "the sandbox needs Linux", needed=True)
    try:
        done = subprocess.run([bubblewrap(), *SANDBOX], capture_output=True, text=True, check=False, timeout=20)
    except (DockyardError, OSError, subprocess.TimeoutExpired) as error:
        return Finding(False, f"bubblewrap does not run: {error}", needed=True)
    if done.returncode == 0:
        return Finding(True, "bubblewrap makes a sandbox: own processes, network, files; no capabilities, no further namespaces")
    said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return Finding(False, f"the kernel refuses a sandbox ({said}); {advice()}", needed=True)


def advice() -> str:
    """What usually stands in the way of user namespaces."""
    for name, wanted, word in (
        ("kernel/apparmor_restrict_unprivileged_userns", "0", "AppArmor restricts user namespaces"),
        ("kernel/unprivileged_userns_clone", "1", "user namespaces are switched off"),
    ):
        path = Path("/proc/sys") / name
        if path.exists() and path.read_text().strip() != wanted:
            return f"{word}: sysctl -w {name.replace('/', '.')}={wanted}, or an AppArmor profile for bwrap"
    limit = Path("/proc/sys/user/max_user_namespaces")
    if limit.exists() and limit.read_text().strip() == "0":
        return "no user namespaces are allowed: sysctl -w user.max_user_namespaces=10000"
    return "in a container, start it with --security-opt seccomp=unconfined and apparmor=unconfined, or use the runtime docker"


def limits() -> Finding:
    """Whether memory and processes can be bound by control groups."""
    from services.runtimes.local.limits import make_group

    group = make_group(f"dockyard-doctor-{os.getpid()}", memory=256 << 20, processes=64, cpus=1)
    found = group.directories
    group.remove()
    if found:
        return Finding(True, "control groups bind the memory, processes and time of builds and servers")
    return Finding(True, "control groups are not writable here: limits are looked after by the shim and rlimits (coarser)")


def others() -> Iterator[Finding]:
    """A JupyterHub of one's own, Docker, Kubernetes, a browser for the tests."""
    yield from hub()
    yield from engine()
    cluster = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
    there = all(Path(name).exists() for name in cluster.split(os.pathsep))
    said = f"Kubernetes configuration {cluster}" if there else "no Kubernetes configuration (for --runtime kubernetes)"
    yield Finding(there, said)
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    said = f"browser for the tests: {browser}" if browser else "no Chromium (for the browser tests only)"
    yield Finding(browser is not None, said)


def hub() -> Iterator[Finding]:
    """The JupyterHub that the settings name, if they do: otherwise there is one of our own."""
    try:
        settings = services.settings.load().hub
        if settings.url:
            asyncio.run(_known(settings))
            yield Finding(True, f"JupyterHub at {settings.url} accepts the token")
    except DockyardError as error:
        yield Finding(False, error.sentence, needed=True)


async def _known(settings: services.settings.HubSettings) -> None:
    from services.hub.client import Hub

    async with Hub(settings) as found:
        await found.accepts()


def engine() -> Iterator[Finding]:
    """The Docker engine, and what builds and servers on it depend on."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        name = services.settings.load().docker.build_image
        found, has_image = asyncio.run(_asked(name))
    except DockyardError as error:
        yield Finding(False, f"no Docker engine for --runtime docker at {address}: {error.sentence}")
        return
    yield Finding(True, f"Docker engine {found.get('ServerVersion', '?')} at {address}")
    bound = all(found.get(key) for key in ("MemoryLimit", "CpuCfsQuota", "PidsLimit"))
    said = "the engine binds memory, CPU and processes of containers"
    yield Finding(bound, said if bound else "the engine cannot bind memory, CPU or processes here: it lacks the control groups")
    yield quota(found)
    yield plugin("buildx", "the build image is made with it")
    yield plugin("compose", "for docker-compose.yml")
    said = f"image {name} for builds" if has_image else f"no image for builds: docker buildx build -t {name} -f deploy/build/Dockerfile ."
    yield Finding(has_image, said)


async def _asked(image: str) -> tuple[dict[str, Any], bool]:
    from services.runtimes.docker.engine import Engine

    found = Engine(services.settings.load().docker.host)
    try:
        return await found.version(), await found.image(image) is not None
    finally:
        await found.aclose()


def quota(found: dict[str, Any]) -> Finding:
    """Whether the storage driver can bound the disk of a server: overlay2 on xfs with pquota, btrfs, zfs, devicemapper."""
    driver = str(found.get("Driver", "?"))
    status = {str(key): str(value) for key, value in found.get("DriverStatus") or ()}
    backing = status.get("Backing Filesystem", "?")
    if driver in ("btrfs", "zfs", "devicemapper"):
        return Finding(True, f"disk of servers can be bound (docker.server_bytes): storage driver {driver}")
    if driver == "overlay2" and backing == "xfs" and _quotas(str(found.get("DockerRootDir", ""))):
        return Finding(True, "disk of servers can be bound (docker.server_bytes): overlay2 on xfs with pquota")
    return Finding(False, f"no disk quota for servers: {driver} on {backing}; leave docker.server_bytes at 0, or put the engine's "
                          "directory on xfs mounted with pquota. Builds are watched and need none")


def _quotas(directory: str) -> bool:
    """Whether the file system of a directory of this machine is mounted with project quotas."""
    best, options = "", ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, _, found, *_ = line.split()
            if (directory == place or directory.startswith(place.rstrip("/") + "/")) and len(place) > len(best):
                best, options = place, found
    return bool({"pquota", "prjquota"} & set(options.split(",")))


def plugin(name: str, use: str) -> Finding:
    """A part of the command `docker`."""
    try:
        done = subprocess.run(["docker", name, "version"], capture_output=True, text=True, check=False, timeout=10)
        version = re.search(r"v?\d+\.\d+[\w.+-]*", done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        version = None
    return Finding(version is not None, f"docker {name} {version[0]}" if version else f"no docker {name} ({use}): install docker-{name}")
