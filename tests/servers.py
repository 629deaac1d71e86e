"""PostgreSQL and Valkey for one test run, from the same code as `up`.

They are started by the first test that asks, whichever process of pytest-xdist it runs in, and shared by all. A keeper
process holds them: it ends, and they with it, when the test run's first process does, even by kill -9. The template
database is migrated once; every test gets a clone of it.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from cli.embedded.account import Account, service_account
from cli.embedded.child import Child, Command, Log
from cli.embedded.postgres import Postgres
from cli.embedded.valkey import Valkey
from tests import processes

DIRECTORY = "DOCKYARD_TEST_SERVERS"  # environment variable: the run's directory, the same in all of its processes
TEMPLATE = "dockyard_template"
DATABASES = 64  # of Valkey: one for each process of pytest-xdist
PATIENCE = 240.0  # seconds for the servers to start
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


def begin() -> None:
    """Make the run's directory; nothing is started yet. Called in the run's first process."""
    directory = Path(tempfile.mkdtemp(prefix="dockyard-test-"))
    directory.chmod(0o711)
    os.environ[DIRECTORY] = str(directory)
    (directory / "run.pid").write_text(str(os.getpid()))


def end() -> None:
    """Stop what was started and remove the run's directory."""
    directory = Path(os.environ.pop(DIRECTORY))
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid = int((directory / "keeper.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)
    shutil.rmtree(directory, ignore_errors=True)


def addresses() -> dict[str, str]:
    """The servers' addresses, starting them on the first call of the run; `RuntimeError` with their last words."""
    directory = Path(os.environ[DIRECTORY])
    ready = directory / "ready.json"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _start(directory, ready)
    found: dict[str, str] = json.loads(ready.read_text())
    return found


def _start(directory: Path, ready: Path) -> None:
    log = directory / "keeper.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.servers", str(directory)], cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )
    processes.minded.add(keeper.pid)
    (directory / "keeper.pid").write_text(str(keeper.pid))
    deadline = time.monotonic() + PATIENCE
    while not ready.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The test servers did not start:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.02)
    keeper.returncode = 0  # It outlives us; nobody here waits for it.


@contextlib.asynccontextmanager
async def running(command: Command, log: Path) -> AsyncIterator[Child]:
    """A child of ours for the length of a block."""
    output = Log(log)
    child = Child(command, output)
    await child.start()
    try:
        yield child
    finally:
        await child.stop()
        output.close()


def command(argv: list[str], account: Account | None, stop: signal.Signals = signal.SIGTERM) -> Command:
    """How a test server is run: an empty environment, the account when root."""
    return Command(tuple(argv), {"PATH": os.defpath, "LC_ALL": "C"}, account, stop_signal=stop)


@contextlib.asynccontextmanager
async def postgres(directory: Path) -> AsyncIterator[Postgres]:
    """A PostgreSQL of its own in a new directory, for a test that stops or breaks it."""
    account = service_account()
    run = directory / "postgres"
    run.mkdir(mode=0o700)
    if account:
        account.own(run)
    server = Postgres(directory / "pg", run, secrets.token_hex(16), account, FAST)
    await asyncio.to_thread(server.prepare)
    async with running(command(server.command(), account, signal.SIGINT), directory / "postgres.log") as child:
        while server.status() != "ready":
            if not child.running:
                raise RuntimeError("\n".join(child.tail))
            await asyncio.sleep(0.01)
        yield server


@contextlib.asynccontextmanager
async def valkey(directory: Path) -> AsyncIterator[Valkey]:
    """A Valkey of its own, for a test that stops or breaks it."""
    account = service_account()
    run = directory / "valkey"
    run.mkdir(mode=0o700)
    if account:
        account.own(run)
    server = Valkey(run, run, account, DATABASES)
    server.prepare()
    async with running(command(server.command(), account), directory / "valkey.log") as child:
        while not await server.ready():
            if not child.running:
                raise RuntimeError("\n".join(child.tail))
            await asyncio.sleep(0.01)
        yield server


def plain(url: str) -> str:
    """SQLAlchemy's address as asyncpg's own."""
    return url.replace("postgresql+asyncpg://", "postgresql://")


async def clone(url: str, name: str) -> None:
    """Make a database out of the template; `url` leads to any other database of the server."""
    connection = await asyncpg.connect(plain(url))
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')
    finally:
        await connection.close()


async def drop(url: str, name: str) -> None:
    """Remove a clone, whoever is still connected."""
    connection = await asyncpg.connect(plain(url))
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()


async def _keep(directory: Path) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    runner = int((directory / "run.pid").read_text())
    async with postgres(directory) as database, valkey(directory) as wakeups:
        await asyncio.to_thread(database.create, TEMPLATE)
        from services.db import migrate

        await migrate.upgrade(database.url(TEMPLATE))
        part = directory / "ready.part"
        part.write_text(json.dumps({"postgres": database.url("postgres"), "valkey": str(wakeups.socket)}))
        part.replace(directory / "ready.json")
        while not stopped.is_set() and Path(f"/proc/{runner}").exists():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), 1.0)
    if not Path(f"/proc/{runner}").exists():
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(_keep(Path(sys.argv[1])))
