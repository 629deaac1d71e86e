"""What a build or a server sees of this machine: a frozen description, and the bubblewrap options it becomes.

A repository is untrusted code, so a sandbox starts from nothing: every namespace is its own (network too, hence no
loopback of the host), no capability, no further user namespaces, no environment, an empty file system to which only the
listed directories are added. `options` is pure, so what a sandbox may see is a table in a test.

The options go to bubblewrap through a file descriptor (`--args`) instead of the command line, which every user of the
machine can read. Changing the uid, limits and the seccomp filter belong to the shim, which starts bubblewrap. The
only way out is the egress proxy's socket; see `inside` and `egress_proxy`.

What this does not give: protection from bugs of the kernel itself, and disk quotas (the shim watches instead).
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

USER = "jovyan"
UID = 1000
HOME = "/home/jovyan"
VENV = "/srv/venv"
STEP = "/run/step"
PROGRAMS = "/run/dockyard"
PYTHON = "/run/python"  # interpreter of our own programs, a link
EGRESS = "/run/egress"  # the directory: a proxy that is started anew makes a new socket in it
PROXY = "http://127.0.0.1:3128"
TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108 - the sandbox's own

# What a program may expect below /etc, as far as it tells nothing about this machine and its users.
ETC = (
    "/etc/alternatives", "/etc/ca-certificates", "/etc/ca-certificates.conf", "/etc/crypto-policies", "/etc/fonts",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
    "/etc/pki/ca-trust", "/etc/pki/tls/cert.pem", "/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/protocols",
    "/etc/services", "/etc/ssl/cert.pem", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
)  # fmt: skip
SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr")


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory or file of the host and where it appears inside; read-only unless `writable`."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Overlay:
    """A directory that stays as it is, with every change going to `upper`; `work` is empty and on the same file
    system.
    """

    lower: str
    upper: str
    work: str
    target: str


@dataclass(frozen=True, slots=True)
class Host:
    """The parts of the host's own layout that the options depend on; `Host.look()` reads them once."""

    links: Mapping[str, str] = field(default_factory=dict)  # such as {"/lib": "usr/lib"}
    system: tuple[str, ...] = ("/usr",)
    etc: tuple[str, ...] = ()

    @classmethod
    def look(cls) -> "Host":
        """The layout of this machine."""
        links = {path: os.readlink(path) for path in SYSTEM if os.path.islink(path)}
        system = tuple(path for path in SYSTEM if path not in links and os.path.isdir(path))
        return cls(links, system, tuple(path for path in ETC if os.path.exists(path)))


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One sandbox: what runs in it and everything it can see beside the system's own programs."""

    command: tuple[str, ...]
    etc: str  # directory made by `write_etc`
    env: Mapping[str, str] = field(default_factory=dict)  # the whole environment
    binds: tuple[Bind, ...] = ()
    overlays: tuple[Overlay, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)  # symbolic links to make, path -> target
    cwd: str = HOME
    hostname: str = "dockyard"
    egress: str = ""  # unix socket of the egress proxy; empty: no network at all
    tmp: str = ""  # directory of the host for /tmp; empty: in memory
    memory_files: int = 256 << 20  # bytes that /tmp (when in memory) and /dev/shm may take each
    bwrap: str = ""  # the program that makes it, where the account of the sandbox can run it; empty: the one installed


def options(sandbox: Sandbox, host: Host) -> list[str]:
    """The options for `bwrap --args`, without the command. Order matters: later mounts cover earlier ones."""
    out = [
        "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--uid", str(UID), "--gid", str(UID), "--hostname", sandbox.hostname, "--clearenv",
    ]  # fmt: skip
    for path in host.system:
        out += ["--ro-bind", path, path]
    for path, target in host.links.items():
        out += ["--symlink", target, path]
    for path in host.etc:
        out += ["--ro-bind", path, path]
    for name in ETC_FILES:
        out += ["--ro-bind", f"{sandbox.etc}/{name}", f"/etc/{name}"]
    out += ["--proc", "/proc", "--dev", "/dev", "--size", str(sandbox.memory_files), "--tmpfs", SHM]
    if sandbox.tmp:
        out += ["--bind", sandbox.tmp, TMP]
    else:
        out += ["--size", str(sandbox.memory_files), "--perms", "1777", "--tmpfs", TMP]
    for overlay in sandbox.overlays:
        out += ["--overlay-src", overlay.lower, "--overlay", overlay.upper, overlay.work, overlay.target]
    for bind in sorted(sandbox.binds, key=lambda bind: bind.target.count("/")):
        out += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
    links = dict(sandbox.links)
    if not any(bind.target.startswith(f"/var{TMP}/") for bind in sandbox.binds):
        links[f"/var{TMP}"] = TMP
    for path, target in sorted(links.items()):
        out += ["--symlink", target, path]
    if sandbox.egress:
        out += ["--ro-bind", sandbox.egress, EGRESS]
    for name, value in sorted(sandbox.env.items()):
        out += ["--setenv", name, value]
    # The root and /dev are file systems in memory that the sandbox would otherwise own and could fill.
    out += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", sandbox.cwd]
    if any("\0" in item for item in out):
        raise ValueError("A sandbox option contains a NUL character.")
    return out


def environment(extra: Mapping[str, str] | None = None, *, egress: bool = True) -> dict[str, str]:
    """The environment of every sandbox, by repo2docker's names, with `extra` on top."""
    env = {
        "HOME": HOME, "USER": USER, "LOGNAME": USER, "NB_USER": USER, "NB_UID": str(UID), "SHELL": "/bin/bash",
        "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PATH": f"{HOME}/.local/bin:{VENV}/bin:/usr/local/bin:/usr/bin:/bin",
        "TMPDIR": TMP, "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    if egress:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            env[name] = env[name.lower()] = PROXY
        env["NO_PROXY"] = env["no_proxy"] = "localhost,127.0.0.1,::1"
        env["GIT_PROXY_COMMAND"] = f"{PROGRAMS}/git-proxy"
    return env | dict(extra or {})


ETC_FILES: Mapping[str, str] = {
    "passwd": f"root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n{USER}:x:{UID}:{UID}::{HOME}:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": f"root:x:0:\n{USER}:x:{UID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    "resolv.conf": "# Names are resolved by the egress proxy.\n",
    "hostname": "dockyard\n",
    # JupyterLab asks every new user whether it may fetch news; here everybody is new, and nothing is fetched.
    "jupyter/labconfig/page_config.json": '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}\n',
}


def write_etc(directory: Path) -> None:
    """Write the files below /etc that differ from the host's own; safe to call again and by several processes."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in ETC_FILES.items():
        path = directory / name
        if path.exists() and path.read_text() == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        draft.write_text(text)
        draft.chmod(0o644)
        draft.replace(path)
