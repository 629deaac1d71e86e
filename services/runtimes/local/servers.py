"""The user servers of this machine: made from an image, found by name, removed with all that was theirs.

Hub and reaper use the same verbs; each is idempotent and blocking. A server listens on a unix socket in `<run>/s/<hash>/in`,
the one directory outside of its own that the sandbox can write. The proxy must not be sent there: the sandbox could put a
link to another socket of this machine in its place. `publish` therefore gives the socket itself a second name (a hard
link) in the directory above, which the sandbox does not see, and `hand_over` opens it to the proxy's account.
"""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from services.errors import BadRequest
from services.runtimes.local import detached, trees
from services.runtimes.local.detached import Detached, Ended, NotStarted, Status
from services.runtimes.local.environments import EnvironmentStore
from services.runtimes.local.homes import SOCKETS, prepare_home, server_limits, server_sandbox
from services.runtimes.local.images import Images
from services.runtimes.local.paths import Paths
from services.runtimes.local.probe import probe
from services.runtimes.local.sandbox import HOME, PROGRAMS, VENV
from services.runtimes.local.surroundings import Surroundings
from services.settings import BuildSettings, HomeSettings, LocalSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_BASE_URL = re.compile(r"/([A-Za-z0-9._~@%-]+/)*")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_VARIABLES, _VARIABLE_BYTES = 64, 32 << 10


@dataclass(frozen=True, slots=True)
class Order:
    """One server to start. Checked when made: raises `BadRequest` with a sentence."""

    name: str  # the hub's user name
    image: str
    base_url: str  # such as /user/name/
    token: str = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    origins: tuple[str, ...] = ()  # other web origins that may use the server; "*" for any

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadRequest("The name of the server is not one of ours.")
        if not _BASE_URL.fullmatch(self.base_url):
            raise BadRequest("The path of the server is not one of ours.")
        if not self.token or not self.image:
            raise BadRequest("A server needs an image and a token.")
        size = sum(len(name) + len(value) for name, value in self.environment.items())
        if len(self.environment) > _VARIABLES or size > _VARIABLE_BYTES:
            raise BadRequest(f"A server may be given {_VARIABLES} variables and {_VARIABLE_BYTES >> 10} KiB of them.")
        for name, value in self.environment.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise BadRequest(f"{name[:128]!r} is not a variable that a server can be given.")

    def command(self) -> tuple[str, ...]:
        """What repo2docker's image would run as `jupyter lab …`."""
        options = {
            "ServerApp.sock": f"{SOCKETS}/s", "ServerApp.sock_mode": "0600", "ServerApp.base_url": self.base_url,
            "ServerApp.root_dir": HOME, "ServerApp.default_url": "/lab", "ServerApp.open_browser": "False",
            "ServerApp.allow_remote_access": "True", "ServerApp.trust_xheaders": "True", "LabApp.news_url": "None",
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        }  # fmt: skip
        if "*" in self.origins:
            # `allow_origin` alone does not cover single files: https://github.com/jupyter/notebook/pull/5898.
            options |= {"ServerApp.allow_origin": "*", "ServerApp.allow_origin_pat": ".*"}
        elif self.origins:
            options["ServerApp.allow_origin_pat"] = f"^({'|'.join(re.escape(origin) for origin in self.origins)})$"
        return (f"{VENV}/bin/python", f"{PROGRAMS}/serve.py", *(f"--{key}={value}" for key, value in options.items()))


class Servers:
    """All servers of one home."""

    def __init__(
        self, home: HomeSettings, local: LocalSettings, builds: BuildSettings, *, online: bool = True, proxy_uid: int | None = None,
    ) -> None:
        """`proxy_uid` is the account of the proxy, when that is another than ours; `online` gives servers a way out."""
        self._paths = Paths.of(local, home)  # made by `start`: others only look
        self._local = local
        self._online = online
        self._proxy_uid = proxy_uid
        self._images = Images(self._paths, EnvironmentStore(self._paths, days=builds.environment_days))
        self._sockets = self._paths.egress.parent.resolve() / "s"

    @cached_property
    def surroundings(self) -> Surroundings:
        """Found at the first use, which takes about a second."""
        return Surroundings.make(self._paths.make(), self._local)

    @property
    def sockets(self) -> Path:
        """The directory of all servers' sockets, one directory each."""
        return self._sockets

    def socket(self, name: str) -> Path:
        """Where hub and proxy reach the server, once it is published."""
        return self._place(name) / "s"

    def status(self, name: str) -> Status:
        """What has become of the server."""
        return detached.status(self._directory(name) / "run")

    def start(self, order: Order) -> None:
        """Start the server in a fresh home. Raises `ImageVanished` or `NotStarted`."""
        self._paths.make()
        surroundings = self.surroundings
        self.remove(order.name)
        record = self._images.open(order.image)
        uid = self._paths.take_uid(order.name)
        mode = 0o700 if uid is None else 0o711
        directory, place = self._directory(order.name), self._place(order.name)
        directory.mkdir(mode=mode)
        self._sockets.mkdir(mode=mode, exist_ok=True)
        place.mkdir(mode=mode, exist_ok=True)
        inside = self._paths.directory(place / "in", uid, 0o700)
        tmp = self._paths.directory(directory / "tmp", uid, 0o700)
        if self._online and not (self._paths.egress / "server" / "sock").exists():
            raise NotStarted("The program that lets servers out to the network does not run.")
        home = prepare_home(record, directory, uid, overlay=probe(self._paths.root / "tools").overlays)
        sandbox = server_sandbox(
            surroundings, record, home, order.command(), sockets=inside, tmp=tmp, online=self._online,
            processes=self._local.server_processes, env={**order.environment, "JUPYTER_TOKEN": order.token},
        )  # fmt: skip
        writable = tuple(path for name in ("home", "upper", "tmp") if (path := directory / name).exists())
        detached.start(Detached(
            directory / "run", sandbox, server_limits(self._local), directory / "log", uid=uid, disk=writable,
        ))

    def publish(self, name: str) -> bool:
        """Give the server's socket its second name, for us alone; False as long as there is none."""
        source, target = self._place(name) / "in" / "s", self.socket(name)
        if target.exists():
            return True
        try:
            os.link(source, target, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not stat.S_ISSOCK(target.lstat().st_mode):
            target.unlink()
            return False
        return True

    def hand_over(self, name: str) -> None:
        """Let the proxy in. Only when the server answers: until then it sets the socket's mode itself."""
        target = self.socket(name)
        target.chmod(0o600)
        if self._proxy_uid is not None and os.geteuid() == 0:
            os.chown(target, self._proxy_uid, -1)

    def stop(self, name: str) -> None:
        """End the server; its files stay."""
        detached.stop(self._directory(name) / "run")

    def remove(self, name: str) -> None:
        """End the server and remove what was its own."""
        self.stop(name)
        trees.discard(self._directory(name))
        trees.discard(self._place(name))
        if self._paths.first_uid is not None:
            self._paths.give_back_uid(name)

    def running(self) -> list[str]:
        """The names of the servers that run."""
        return sorted(path.parent.name for path in detached.runs(self._paths.servers))

    def last_words(self, name: str, lines: int = 8) -> str:
        """The end of the server's log, fit to be shown."""
        try:
            with (self._directory(name) / "log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        found = [line.rstrip() for line in _CONTROL.sub("", text.replace("\r\n", "\n")).splitlines() if line.strip()]
        return "\n".join(line[:300] for line in found[-lines:])

    def why(self, name: str) -> tuple[str, bool]:
        """Why a server ended before it could be used, and whether another attempt can help."""
        found = self.status(name)
        if not isinstance(found, Ended):
            return "The server was stopped while it started.", True
        words = {
            "memory": f"The server was ended because it used more than the {_size(self._local.server_memory)} of memory it may use.",
            "disk": f"The server was ended because it took more than the {_size(self._local.server_bytes)} of disk it may take.",
            "full": "The disk of this machine is full.",
            "flood": "The server was ended because it wrote without end to its log.",
            "sandbox": "The sandbox of the server could not be made.",
            "stopped": "The server was stopped while it started.",
            "lost": "The server was killed while it started.",
        }  # fmt: skip
        last = self.last_words(name)
        # Without control groups a program that asks for too much is refused, and most end then.
        reason = "memory" if not found.reason and last.endswith("MemoryError") else found.reason
        sentence = words.get(reason, f"The server ended with status {found.code} before it could be used.")
        if found.refused and not found.reason:
            sentence += f" It may have {self._local.server_processes} processes and threads, and was refused more."
        return sentence + (f" Its last words:\n{last}" if last else ""), found.reason in ("full", "sandbox", "stopped", "lost")

    def _directory(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BadRequest("The name of the server is not one of ours.")
        return self._paths.servers / name

    def _place(self, name: str) -> Path:
        # Short, because the path of a socket has 107 bytes at most.
        return self._sockets / hashlib.sha256(name.encode()).hexdigest()[:12]


def _size(count: int) -> str:
    return f"{count / (1 << 30):.3g} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"
