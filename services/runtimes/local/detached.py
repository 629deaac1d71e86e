"""Starting, finding and stopping sandboxes that run under a shim of their own.

The directory is the handle: everything a later process needs to know stands in it, so worker, hub, reaper and `up`
use the same functions and none of them has to be the one that started it. All verbs are idempotent and blocking (a
start takes about 40 ms); on an event loop call them through `asyncio.to_thread`. """

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.errors import DockyardError
from services.runtimes.local import seccomp
from services.runtimes.local.sandbox import Host, Sandbox, options
from services.runtimes.local.tools import bubblewrap

NAMES = ("fetch", "conda", "wheels", "build", "post", "compile", "run")  # of the directories of runs
SHIM = Path(__file__).with_name("shim.py")
_SETTLING = 10.0  # seconds from a shim's lock until it has said that it is there


class NotStarted(DockyardError):
    """The sandbox's shim did not come up; the machine's fault, so another attempt may succeed."""

    code = "not_started"
    retryable = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sandbox may use; 0 means no limit, except for files."""

    memory: int = 0  # bytes
    processes: int = 0  # processes and threads
    cpus: float = 0.0  # cores' worth of time, where there are control groups
    files: int = 4096  # open files per process
    file_bytes: int = 0  # bytes of one file
    cpu_seconds: int = 0  # per process
    seconds: float = 0.0  # from the start to the end
    idle: float = 0.0  # seconds without output
    grace: float = 2.0  # seconds between SIGTERM and SIGKILL when stopped
    log_bytes: int = 16 << 20  # bytes of the log; 16 times as much ends the sandbox
    disk_bytes: int = 0  # bytes of the directories in `Detached.disk`
    free_bytes: int = 256 << 20  # bytes that stay free on the log's disk


@dataclass(frozen=True, slots=True)
class Detached:
    """One run: the directory is its handle."""

    directory: Path
    sandbox: Sandbox
    limits: Limits
    log: Path
    uid: int | None = None  # account of the host to run as; None: our own
    nice: int = 0
    disk: tuple[Path, ...] = ()  # directories that count for `disk_bytes`


@dataclass(frozen=True, slots=True)
class Running:
    """It runs; pid and start time (clock ticks since boot) name the shim for certain."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended.

    `reason` is empty when the command itself ended, else what ended it: deadline, idle, memory, flood, disk, full (the
    host's disk), stopped, sandbox (it could not be made), lost (the shim was killed or the machine restarted).
    """

    code: int | None
    reason: str
    refused: int = 0  # processes or threads that were refused, where it is counted


class Absent:
    """It was never started."""


Status = Running | Ended | Absent


def start(run: Detached) -> None:
    """Start a run unless it runs or has run; returns when `status` can see it. Raises `NotStarted`."""
    run.directory.mkdir(mode=0o700, exist_ok=True)
    if not isinstance(status(run.directory), Absent):
        return
    spec: dict[str, Any] = {
        "name": _name(run.directory), "bwrap": run.sandbox.bwrap or str(bubblewrap()), "options": options(run.sandbox, Host.look()),
        "command": list(run.sandbox.command), "seccomp": seccomp.program().hex(),
        "seccomp_uncounted": seccomp.program(segments=False).hex(), "uid": run.uid, "nice": run.nice,
        "log": str(run.log), "limits": asdict(run.limits), "disk": [str(path) for path in run.disk],
    }  # fmt: skip
    _write_spec(run.directory, spec)
    subprocess.run(
        [sys.executable, "-I", "-S", str(SHIM), str(run.directory)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    deadline = time.monotonic() + _SETTLING
    while isinstance(status(run.directory), Absent) and _locked(run.directory) and time.monotonic() < deadline:
        time.sleep(0.01)  # the shim of a starter that was killed has been faster, and is about to say that it is there
    if isinstance(status(run.directory), Absent):
        errors = run.directory / "errors"
        detail = errors.read_text()[-500:] if errors.exists() else ""
        raise NotStarted(f"The process that watches over the sandbox did not start. {detail}".strip())
    # The shim has read it. The environment in the options may hold a secret, such as a server's token.
    _write_spec(run.directory, {key: value for key, value in spec.items() if key != "options"})


def _write_spec(directory: Path, spec: dict[str, Any]) -> None:
    draft = directory / f".spec.{os.getpid()}.{time.monotonic_ns()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(spec, file)
    draft.replace(directory / "spec.json")


def status(directory: Path) -> Status:
    """What has become of the run in this directory."""
    pid = _json(directory / "pid")
    if pid is None:
        return Absent()
    if _locked(directory):
        return Running(int(pid["pid"]), int(pid["started"]))
    end = _json(directory / "exit")
    if end is None:
        return Ended(None, "lost")
    return Ended(end["code"], end["reason"], end["refused"])


def stop(directory: Path) -> None:
    """End the run and everything in it; returns when nothing of it is left, after its grace at most (and a little)."""
    stop_all([directory])


def stop_all(directories: Iterable[Path], *, patience: float = 5.0) -> None:
    """Stop many runs at once; what does not end in its grace plus `patience` seconds is killed."""
    waiting = {}
    for directory in directories:
        found = status(directory)
        if isinstance(found, Running):
            spec = _json(directory / "spec.json") or {}
            grace = float(spec.get("limits", {}).get("grace", 0.0))
            waiting[directory] = time.monotonic() + grace + patience
            _signal(found, signal.SIGTERM)
    while waiting:
        for directory, until in list(waiting.items()):
            found = status(directory)
            if not isinstance(found, Running):
                del waiting[directory]
            elif time.monotonic() > until:
                _signal(found, signal.SIGKILL)
        if waiting:
            time.sleep(0.01)


def runs(root: Path, depth: int = 1) -> list[Path]:
    """The directories of all runs that still run, `depth` levels of directories below `root`.

    Only places where nobody but us makes directories are looked at: a repository may contain what looks like a run.
    """
    found = [path for name in NAMES for path in root.glob("/".join(["*"] * depth + [name]))]
    return sorted(path for path in found if isinstance(status(path), Running))


def stop_everything(home: Path) -> None:
    """Stop every build and server of a home's `local` directory: the last thing `up` does."""
    stop_all([*runs(home / "builds"), *runs(home / "bases", 2), *runs(home / "servers")])


def _name(directory: Path) -> str:
    """A name for the control group that no other run on this machine has."""
    info = directory.stat()
    return f"{directory.parent.name}-{directory.name}-{info.st_ino:x}"[-120:]


def _signal(run: Running, number: int) -> None:
    """Signal a shim, unless its pid belongs to another process by now."""
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{run.pid}/stat").read_text()
        if int(text.rpartition(")")[2].split()[19]) == run.started:
            os.kill(run.pid, number)


def _locked(directory: Path) -> bool:
    try:
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    assert isinstance(value, dict)
    return value
