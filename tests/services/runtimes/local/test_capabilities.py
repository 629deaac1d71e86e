"""A probe runs as a build and as a server; what it finds is held against the list of what may be there."""

import asyncio
import json
import os
import platform
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.runtimes.local.detached import Detached, Running, start, status
from services.runtimes.local.homes import prepare_home, server_limits, server_sandbox
from tests.gitrepo import Repo
from tests.services.runtimes.local.ground import Ground

PROBE = (Path(__file__).parent / "probe_program.py").read_text()
BASIC = {
    "APP_BASE", "CONDA_DEFAULT_ENV", "GIT_PROXY_COMMAND", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "KERNEL_PYTHON_PREFIX", "LANG", "LC_ALL",
    "LOGNAME", "NB_PYTHON_PREFIX", "NB_UID", "NB_USER", "NO_PROXY", "PATH", "PWD", "PYTHONUNBUFFERED", "REPO_DIR", "SHELL", "TMPDIR",
    "USER", "UV_DEFAULT_INDEX", "UV_SYSTEM_CERTS", "VIRTUAL_ENV", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE",
}  # what the list of the runtime allows
PYTHONS = [f"python3.{minor}" for minor in range(9, 16)]
SHELL = {"OLDPWD", "SHLVL", "_", "LC_CTYPE"}  # what a shell and Python add
MOUNTS = {
    "/", "/dev", "/dev/console", "/dev/full", "/dev/null", "/dev/pts", "/dev/random", "/dev/shm", "/dev/tty", "/dev/urandom", "/dev/zero",
    "/home/jovyan", "/lib", "/lib64", "/proc", "/run/dockyard", "/run/egress", "/srv/venv", "/tmp", "/usr", "/bin", "/sbin", "/lib32",
}


@pytest.fixture
def loopback() -> Iterator[int]:
    """A port of this machine where somebody listens, as the database of a careless neighbour would."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def read(text: str) -> dict[str, Any]:
    found = re.search(r"^PROBE(.*)$", text, re.MULTILINE)
    assert found, text[-3000:]
    told: dict[str, Any] = json.loads(found[1])
    return told


def check(told: dict[str, Any], *, writable: set[str], more: frozenset[str] = frozenset()) -> None:
    """Hold what a probe has told against the list."""
    zero = "0000000000000000"
    assert told["status"] == {
        "CapInh": zero, "CapPrm": zero, "CapEff": zero, "CapBnd": zero, "CapAmb": zero, "NoNewPrivs": "1",
        "Seccomp": "2" if platform.machine() in ("x86_64", "aarch64") else "0",
        "Uid": "1000\t1000\t1000\t1000", "Gid": "1000\t1000\t1000\t1000",
    }
    assert set(told["environment"]) <= BASIC | SHELL | more, set(told["environment"]) - BASIC - SHELL
    assert set(told["home"]) == {"jovyan"} or not told["home"]
    assert told["accounts"] == ["root", "jovyan", "nobody"]
    assert told["interfaces"] == ["lo"]
    assert told["abstract"] == []
    assert told["sockets"] == []  # that of the egress proxy is in a directory that may be passed through, and not listed
    assert set(told["run"]) <= {"dockyard", "egress", "python", "server", "step"}
    assert set(told["srv"]) == {"venv"}
    assert set(told["dev"]) <= {
        "console", "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero",
    }
    assert set(told["processes"]) <= {"bwrap", "python", "python3", "sh", "bash", Path(os.path.realpath("/bin/sh")).name, *PYTHONS}
    assert {mount for mount in told["mounts"] if not mount.startswith(("/etc/", *told_prefixes(told)))} <= MOUNTS | {"/run/server"}
    assert set(told["writable"]) == writable
    assert not any(told["hidden"].values()), told["hidden"]
    assert told["loopback"] == "Connection refused"  # its own loopback, where nobody listens
    assert told["outside"] == "Network is unreachable"
    assert told["proxy loopback"].startswith("HTTP/1.1 470 ")
    assert told["proxy localhost"].startswith("HTTP/1.1 470 ")
    assert told["proxy metadata"].startswith("HTTP/1.1 470 ")
    assert told["vsock"] == "Address family not supported by protocol"
    assert told["packet"] == "Address family not supported by protocol"
    assert told["userns"] in ("Operation not permitted", "No space left on device")
    assert told["setuid"] in ("Invalid argument", "Operation not permitted")
    assert (told["chroot"], told["mknod"]) == ("Operation not permitted", "Operation not permitted")
    if platform.machine() == "x86_64":
        assert set(told["calls"].values()) == {"Operation not permitted"}


def told_prefixes(told: dict[str, Any]) -> tuple[str, ...]:
    """Interpreters outside of /usr are mounted at their own place."""
    return tuple(mount for mount in told["mounts"] if re.search(r"/(3\.\d+\.\d+|cpython-3[^/]*)$", mount)) or ("/etc/",)


def hidden(home: Ground) -> list[str]:
    """What must not exist in a sandbox."""
    return [
        "/root/.ssh", "/root/.bashrc", str(Path(__file__).parents[4]), "/etc/shadow", "/etc/machine-id", "/etc/hosts.allow", "/sys",
        "/boot", "/mnt", "/media", "/var/lib", "/var/run", str(home.root / "secret"), str(home.root / "local"), str(Path.home() / ".ssh"),
        str(Path.home() / ".cache"),
        "/run/docker.sock", "/run/user", "/run/systemd", "/proc/1/root/boot", "/dev/kvm", "/dev/mem", "/dev/vda",
        "/dev/vsock",
    ]


async def test_a_build(home: Ground, repo: Repo, url: str, loopback: int) -> None:
    arguments = " ".join([str(loopback), *hidden(home)])
    commit = repo.commit({"probe.py": PROBE, "binder/postBuild": f"#!/bin/sh\nexec python3 probe.py {arguments}\n"})
    built = await home.build(home.job(url, commit))
    assert built.exit.ok, built.text + built.exit.reason
    told = read(built.text)
    check(told, writable={"/dev/shm", "/home/jovyan", "/tmp", "/srv/venv", *_deep(told, "/home/jovyan", "/srv/venv", "/tmp")})
    assert told["venv"] == "done"


async def test_a_server(home: Ground, repo: Repo, url: str, loopback: int) -> None:
    built = await home.build(home.job(url, repo.commit({"probe.py": PROBE})))
    assert built.exit.ok
    workshop = home.workshop()
    directory = workshop.paths.servers / "probe"
    directory.mkdir(mode=0o711)
    uid = workshop.paths.take_uid("probe")
    record = workshop.images.open(built.job.image)
    prepared = prepare_home(record, directory, uid)
    sockets = workshop.paths.directory(directory / "in", uid, 0o700)
    tmp = workshop.paths.directory(directory / "tmp", uid, 0o700)
    sandbox = server_sandbox(
        workshop.surroundings, record, prepared, ("python", "probe.py", str(loopback), *hidden(home)), sockets=sockets, tmp=tmp,
        env={"JUPYTER_TOKEN": "hush"}, processes=100,
    )
    run = Detached(directory / "run", sandbox, server_limits(home.settings.local), directory / "log", uid=uid)
    await asyncio.to_thread(start, run)
    while isinstance(status(directory / "run"), Running):
        await asyncio.sleep(0.02)
    told = read((directory / "log").read_text())
    writable = {"/dev/shm", "/home/jovyan", "/tmp", "/run/server", *_deep(told, "/home/jovyan", "/tmp")}
    check(told, writable=writable, more=frozenset({"JUPYTER_TOKEN"}))
    assert told["venv"] == "Read-only file system"
    assert "hush" not in (directory / "run/pid").read_text()


def _deep(told: dict[str, Any], *tops: str) -> set[str]:
    return {path for path in told["writable"] if path.startswith(tuple(f"{top}/" for top in tops))}
