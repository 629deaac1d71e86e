"""The whole of Dockyard, started for a bench: the real `up` with everything durable, but a hub that starts nothing.

What is measured is what a user gets: the embedded Postgres and Valkey, api, worker, launcher and reaper as
`up` runs them. Only the hub (`mock_hub`) and the builds (runtime `fake`) are stand-ins, and the limits per
address are off because all load comes from this machine.
"""

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.ports import free_ports
from bench.processes import Tree
from cli.embedded.account import service_account
from cli.embedded.child import dies_with_us
from cli.embedded.home import open_home
from cli.embedded.places import socket_url
from cli.embedded.postgres import Postgres

CHECKOUT = Path(__file__).resolve().parent.parent
UNLIMITED = {
    "DOCKYARD_LIMITS_OPEN_PER_CLIENT": "0", "DOCKYARD_LIMITS_OPEN_TOTAL": "0", "DOCKYARD_LIMITS_SERVERS_TOTAL": "0",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """A running Dockyard."""

    url: str  # of the front door, without a trailing slash
    home: Path
    admin_token: str
    tree: Tree

    def database_url(self) -> str:
        """Its database, as asyncpg's address."""
        home = open_home(self.home, service_account())
        server = Postgres(home.path / "pg", home.directory("run/pg"), home.secret("postgres"), home.account)
        return server.url().replace("postgresql+asyncpg://", "postgresql://")


@contextmanager
def running(settings: Mapping[str, str] | None = None, *, hub: tuple[str, ...] | None = ()) -> Iterator[Stack]:
    """A Dockyard in a new home, gone afterwards; `hub` has the options of the mock hub, None for the real one.

    Raises `RuntimeError` with the last words of what did not start.
    """
    home = Path(tempfile.mkdtemp(prefix="dockyard-bench-"))
    home.chmod(0o755)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("DOCKYARD_")}
    environ |= {"PYTHONPATH": str(CHECKOUT), "DOCKYARD_AUTH_ADMIN_TOKEN": secrets.token_hex(16)}
    environ |= settings or {}
    try:
        if hub is None:
            if environ.get("DOCKYARD_RUNTIME_NAME") == "fake":
                _fake_runtime(home)
            with _up(home, environ, None) as stack:
                yield stack
            return
        _fake_runtime(home)
        with _mock_hub(home / "mock.sock", hub) as (address, hub_pid):
            environ |= {
                "DOCKYARD_HUB_URL": address, "DOCKYARD_HUB_PUBLIC_URL": "http://localhost:1/",
                "DOCKYARD_HUB_TOKEN": "bench", "DOCKYARD_RUNTIME_NAME": "fake", **UNLIMITED,
            }
            with _up(home, environ, hub_pid) as stack:
                yield stack
    finally:
        shutil.rmtree(home, ignore_errors=True)


def arguments(parser: argparse.ArgumentParser, load: str = "the load") -> None:
    """Options about where it runs, for benches that measure through `measured`."""
    parser.add_argument("--server-cpus", metavar="LIST", help="cores for what is measured")
    parser.add_argument("--client-cpus", metavar="LIST", help=f"cores for {load}")


@contextmanager
def measured(args: argparse.Namespace, *, hub: tuple[str, ...] = ()) -> Iterator[Stack | None]:
    """A Dockyard of its own, as `running`, or None where `--url` names one that runs; each side on its own cores."""
    with ExitStack() as stop:
        started = None
        if getattr(args, "url", None) is None:
            pin(args.server_cpus)
            started = stop.enter_context(running(hub=hub))
        pin(args.client_cpus)
        yield started


def _fake_runtime(home: Path) -> None:
    """The directories of the runtime `fake`, which parts of different accounts write to."""
    for path in (home / "fake", *(home / "fake" / name for name in ("builds", "images", "environments"))):
        path.mkdir()
        path.chmod(0o777)


@contextmanager
def _mock_hub(path: Path, options: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    words = [sys.executable, "-m", "bench.mock_hub", "--socket", str(path), *options]
    process = subprocess.Popen(
        words, cwd=CHECKOUT, stdout=subprocess.PIPE, start_new_session=True,
        preexec_fn=dies_with_us(signal.SIGTERM, os.getpid()),  # noqa: PLW1509 - no other thread is running
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith(b"listening"):
            raise RuntimeError("The mock hub did not start.")
        path.chmod(0o666)  # the launcher may run as another account
        yield f"{socket_url(path)}/hub/api/", process.pid
    finally:
        end(process)


@contextmanager
def _up(home: Path, environ: Mapping[str, str], hub_pid: int | None) -> Iterator[Stack]:
    port, log = free_ports(), home / "up.log"
    words = [sys.executable, "-P", "-m", "cli", "up", "--port", str(port), "--home", str(home)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, cwd=CHECKOUT, env=dict(environ), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
            preexec_fn=dies_with_us(signal.SIGTERM, os.getpid()),  # noqa: PLW1509 - no other thread is running
        )
    try:
        token = environ["DOCKYARD_AUTH_ADMIN_TOKEN"]
        tree = Tree(process.pid, home, (("mock hub", hub_pid),) if hub_pid else ())
        stack = Stack(f"http://127.0.0.1:{port}", home, token, tree)
        wait_healthy(stack.url, process, log)
        yield stack
    finally:
        end(process)


def wait_healthy(url: str, process: subprocess.Popen[bytes], log: Path, *, patience: float = 120.0) -> float:
    """Wait until /health is 200; the seconds that it took."""
    begun = time.monotonic()
    while time.monotonic() - begun < patience:
        if process.poll() is not None:
            break
        if health(url) == 200:
            return time.monotonic() - begun
        time.sleep(0.05)
    raise RuntimeError(f"Dockyard did not become healthy:\n{log.read_text(errors='replace')[-4000:]}")


def health(url: str) -> int:
    """The status of /health, 0 where nobody answers. Goes around any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def end(process: "subprocess.Popen[bytes]", grace: float = 60.0) -> None:
    """Ask a process to end, then make it end together with its group."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def pin(cpus: str | None) -> None:
    """Let this process and what it starts from now on run on these cores only, such as "0" or "0,1"."""
    if cpus:
        os.sched_setaffinity(0, {int(number) for number in cpus.split(",")})

