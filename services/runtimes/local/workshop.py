"""What all builds of one process share, and how a step of theirs becomes a run."""

import importlib.util
import json
import os
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.egress import Purpose
from services.egress.logins import Logins
from services.errors import Misconfigured
from services.runtimes.local import interpreters, tools
from services.runtimes.local.detached import Absent, Detached, Ended, Limits, start, status
from services.runtimes.local.environments import EnvironmentStore
from services.runtimes.local.images import Images
from services.runtimes.local.interpreters import Interpreter
from services.runtimes.local.paths import Paths
from services.runtimes.local.sandbox import HOME, STEP, TMP, VENV, Bind
from services.runtimes.local.surroundings import Surroundings
from services.settings import BuildSettings, LocalSettings

RESULT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a build: what runs, as whom, and what it can see beside what all see."""

    name: str  # of the directory of its run
    purpose: Purpose
    command: tuple[str, ...]
    uid: int | None
    home: Path  # at /home/jovyan, writable; made if missing
    venv: Path | None = None  # at /srv/venv, writable
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] | None = None
    job: Mapping[str, Any] | None = None  # for a step of ours: job.json
    interpreter: Interpreter | None = None
    online: bool = True
    seconds: float = 0.0
    disk_bytes: int = 0


class Workshop:
    """Settings, stores and surroundings; makes runs of steps."""

    def __init__(
        self, paths: Paths, local: LocalSettings, builds: BuildSettings, environ: Mapping[str, str] | None = None,
        logins: Logins | None = None,
    ) -> None:
        """`environ` is where certificates and index settings are read from: the process's own unless given."""
        self._environ = environ
        self._conda, self._conda_until = False, 0.0
        self.refused: dict[tuple[Path, int], float] = {}  # directories of bases that somebody else has, by inode, and since when
        self.paths = paths
        self.local = local
        self.builds = builds
        self.logins = logins
        self.environments = EnvironmentStore(paths, days=builds.environment_days)
        self.images = Images(paths, self.environments)

    @cached_property
    def surroundings(self) -> Surroundings:
        """Found at the first use, which takes about a second."""
        self.paths.make()
        return Surroundings.make(self.paths, self.local, self._environ)

    @property
    def pythons(self) -> tuple[Interpreter, ...]:
        """The interpreters that environments can be made with."""
        return interpreters.installed(tuple(self.local.pythons))

    def default_python(self) -> tuple[str, str]:
        """The version for repositories that name none ("" if there is none) and a sentence about it for the log."""
        chosen, sentence = interpreters.choose(self.pythons, "", default=self.local.python)
        return (chosen.version if chosen else "", sentence)

    @cached_property
    def rattler(self) -> Path:
        """The package py-rattler, where every account can read it."""
        spec = importlib.util.find_spec("rattler")
        if spec is None or spec.origin is None:
            raise Misconfigured("py-rattler is not installed; environment.yml needs it.")
        return tools.reachable(Path(spec.origin).parent, self.paths.root / "tools")

    def conda_answers(self) -> bool:
        """Whether builds reach conda's channels, by the egress rule; asked once in a minute at most. Blocking, up to 10 s."""
        if time.monotonic() > self._conda_until:
            parts = urlsplit(self.local.conda)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            self._conda = bool(parts.hostname) and reaches(self.paths.egress / "build" / "sock", str(parts.hostname), port)
            self._conda_until = time.monotonic() + 60
        return self._conda

    def interpreter(self, version: str) -> Interpreter:
        """The interpreter of a version, where every account can read it. Raises `Misconfigured`."""
        for one in self.pythons:
            if one.version == version:
                return interpreters.usable(one, self.paths.root / "tools")
        raise Misconfigured(f"Python {version} is not installed on this machine any more.")

    def run(self, directory: Path, step: Step, log: Path) -> Ended | None:
        """Start a step of the attempt in `directory`, or see how it is; None while it runs. Raises `NotStarted`."""
        found = status(directory / step.name)
        if isinstance(found, Absent):
            start(self._detached(directory, step, log))
            return None
        return found if isinstance(found, Ended) else None

    def limits(self, step: Step) -> Limits:
        """The limits of a step."""
        local = self.local
        return Limits(
            memory=local.build_memory, processes=local.build_processes, cpus=local.build_cpus, files=local.files,
            file_bytes=local.file_bytes, seconds=step.seconds, idle=local.build_idle, grace=1.0,
            log_bytes=self.builds.log_bytes, disk_bytes=step.disk_bytes or local.build_bytes, free_bytes=local.free_bytes,
        )  # fmt: skip

    def _detached(self, directory: Path, step: Step, log: Path) -> Detached:
        paths = self.paths
        tmp = paths.directory(directory / f"{step.name}.tmp", step.uid, 0o700)
        binds = [Bind(str(paths.directory(step.home, step.uid)), HOME, writable=True), *step.binds]
        if step.venv is not None:
            binds.append(Bind(str(step.venv), VENV, writable=True))
        if step.job is not None:
            given = paths.directory(directory / f"{step.name}.step", step.uid, 0o700)
            # Never through a link: the directory is the step's own once it runs.
            fd = os.open(given / "job.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            with open(fd, "w") as file:
                os.fchmod(fd, 0o644)
                json.dump(step.job, file)
            binds.append(Bind(str(given), STEP, writable=True))
        sandbox = self.surroundings.sandbox(
            step.purpose, step.command, env=step.env or {}, binds=tuple(binds), cwd=HOME if step.job is None else TMP, tmp=tmp,
            interpreter=step.interpreter, processes=self.local.build_processes, online=step.online,
        )  # fmt: skip
        return Detached(
            directory / step.name, sandbox, self.limits(step), log, uid=step.uid, nice=5, disk=(directory,),
        )


def reaches(proxy: Path, host: str, port: int, *, patience: float = 10.0) -> bool:
    """Whether the egress proxy at a socket connects to host and port within `patience` seconds."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience)
            connection.connect(str(proxy))
            connection.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def result(directory: Path, step: str, name: str = "result.json") -> Mapping[str, Any] | None:
    """A file that a step has left, which is not trusted: None if there is none or it is not an object of JSON."""
    try:
        fd = os.open(directory / f"{step}.step" / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        text = file.read(RESULT_BYTES)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
