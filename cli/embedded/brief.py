"""A database server for a moment: the running one of a home, or one that is started for a command and stopped after it."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from cli.embedded.account import identity
from cli.embedded.home import Home, hold
from cli.embedded.postgres import MAJOR, Postgres, major_of
from services.errors import Misconfigured

PATIENCE = 120.0  # seconds for a server to start: it may have to go through its log of changes after a power cut


def server_of(home: Home, *, old: bool = False) -> Postgres:
    """The server of a home; with `old` that of the version which wrote it, where its binaries are here."""
    data = home.path / "pg"
    return Postgres(data, home.directory("run/pg"), home.secret("postgres"), home.account, major=major_of(data) if old else MAJOR)


@contextlib.contextmanager
def running(home: Home, *, old: bool = False) -> Iterator[Postgres]:
    """The server of a home, running; where `up` runs it is that one, otherwise nobody else can start one meanwhile."""
    server = server_of(home, old=old)
    try:
        held = hold(home)
    except Misconfigured:
        if server.status() != "ready":
            raise Misconfigured(f"Dockyard on {home.path} is starting or stopping: try again in a moment.") from None
        yield server
        return
    with held, started(server, home.log("postgres")):
        yield server


@contextlib.contextmanager
def started(server: Postgres, log: Path) -> Iterator[None]:
    """Run a server for the length of a block. `Misconfigured` with its last words where it does not start."""
    server.prepare()
    with log.open("ab") as output:
        process = subprocess.Popen(
            server.command(), env={"LC_ALL": "C"}, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            **identity(server.account))
    try:
        deadline = time.monotonic() + PATIENCE
        while server.status() != "ready":
            if process.poll() is not None or time.monotonic() > deadline:
                raise Misconfigured(f"The database does not start; its log is {log}.")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(2)  # SIGINT: a fast and clean end
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
