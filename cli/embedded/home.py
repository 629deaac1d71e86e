"""The home: the one directory that all state of an embedded Dockyard lives in.

    pg/ valkey/ hub/ local/   data of the parts (the database's is of one PostgreSQL major version)
    run/                      sockets and pid files; a link to a short directory where the home's own path is too
                              long for a socket (107 bytes): resolve it before use
    log/                      everything that each part says
    secret/                   keys and passwords, one per file, mode 0600, made once
    up.lock                   held by the `up` that runs on this home

Nothing above the home is changed, whatever its modes.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli.embedded.account import Account
from services.errors import Misconfigured

SOCKET_BYTES = 107 - len("/egress/server/sock") - 8  # what a path of `run` may have; 8 for a longer name to come
ROOM = 256 << 20  # bytes that a start needs: the database's first files and its log of changes


def default_path() -> Path:
    """Where the home is unless told otherwise; the entry script says the same."""
    if os.environ.get("DOCKYARD_HOME"):
        return Path(os.environ["DOCKYARD_HOME"]).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/dockyard")
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data) / "dockyard"


@dataclass(frozen=True, slots=True)
class Home:
    """An opened home: its directories exist and have the right owners and modes."""

    path: Path
    run: Path  # resolved: short enough for sockets
    account: Account | None

    def directory(self, name: str, mode: int = 0o700, *, own: bool = True) -> Path:
        """A directory below the home, made if missing; of the account when root, unless `own` is false."""
        path = self.run if name == "run" else self.run / name[4:] if name.startswith("run/") else self.path / name
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        if self.account is not None and own:
            self.account.own(path)
        path.chmod(mode)
        return path

    def secret(self, name: str) -> str:
        """A secret of 256 random bits in hex, made on first use."""
        path = self.path / "secret" / name
        if path.exists() and (found := path.read_text().strip()):
            return found
        value = secrets.token_hex(32)
        part = path.with_name(f".{name}.part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(value)
        part.replace(path)
        return value

    def log(self, name: str) -> Path:
        """The log file of a part."""
        return self.path / "log" / f"{name}.log"


def open_home(path: Path, account: Account | None = None) -> Home:
    """Make the home usable; `Misconfigured` with one sentence when it cannot be."""
    path = path.absolute()
    try:
        _make(path)
        run = _run_directory(path)
        home = Home(path, run, account)
        home.directory("run", 0o711, own=False)
        for name in ("log", "secret"):
            home.directory(name, own=False)
    except OSError as error:
        raise unwritable(path, error) from error
    free = shutil.disk_usage(path).free
    if free < ROOM:
        raise Misconfigured(f"The disk of {path} is full: {free >> 20} MB are free and {ROOM >> 20} MB are needed.")
    return home


def unwritable(path: Path, error: OSError) -> Misconfigured:
    """The sentence for a home that refuses a write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Misconfigured(f"The disk of {path} is full.")
    return Misconfigured(f"The home {path} cannot be written ({error.strerror}): choose another with --home or DOCKYARD_HOME.")


def _make(path: Path) -> None:
    new = not path.exists()
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    mode = stat.S_IMODE(path.stat().st_mode)
    if path.stat().st_uid == os.geteuid() and (new or os.geteuid() == 0):
        # The account and the user servers' ids pass through; what is private below says so itself.
        path.chmod(mode | 0o711 if os.geteuid() == 0 else 0o700)


def _run_directory(path: Path) -> Path:
    own = path / "run"
    if len(os.fsencode(own)) <= SOCKET_BYTES and not own.is_symlink():
        own.mkdir(mode=0o711, exist_ok=True)
        return own
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0 or not base or len(base) > SOCKET_BYTES - 22 or not os.access(base, os.W_OK):
        base = "/tmp"  # noqa: S108 - the directory below is checked to be ours
    short = Path(base) / f"dockyard-{os.geteuid()}-{name}"
    short.mkdir(mode=0o711, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, f"{short} belongs to somebody else")
    if own.is_symlink() or own.exists():
        if own.is_symlink():
            own.unlink()
        else:
            shutil.rmtree(own)
    own.symlink_to(short)
    return short


def hold(home: Home) -> IO[str]:
    """Take the home for this `up` until the returned file is closed; `Misconfigured` if another has it."""
    path = home.path / "up.lock"
    try:
        file = path.open("a+")
    except OSError as error:
        raise unwritable(home.path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        told = file.read().strip()
        file.close()
        where = f" ({told})" if told else ""
        raise Misconfigured(f"Dockyard is running on the home {home.path} already{where}.") from None
    file.truncate(0)
    file.write(f"process {os.getpid()}")
    file.flush()
    return file
