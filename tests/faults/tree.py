"""A whole Dockyard as `./dockyard up` starts it, to be broken: every process, the real hub and its proxy, a real runtime.

With doors (see `up`) the driver's proxies stand before Postgres, Valkey and hub, and what dies is started again by the
supervisor. Without them it is the command itself, which is killed as a whole and started anew. The hub and the database are
looked at past the doors.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from bench.ports import free_ports
from cli.embedded import leftovers
from cli.embedded.account import service_account
from cli.embedded.child import dies_with_us
from cli.embedded.home import open_home
from cli.embedded.postgres import Postgres
from cli.embedded.valkey import Valkey
from services.db import Database
from services.settings import Settings, load
from tests.faults.proxy import Proxy
from tests.faults.reality import DockerReality, FakeReality, LocalReality, Reality
from tests.faults.up import DOORS
from tests.processes import below, kill

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180.0  # seconds to become healthy


class Tree:
    """One tree. Use as `async with`, in a short directory that others may pass through."""

    servers: tuple[str, ...] = ("postgres", "valkey")
    troubles: tuple[type[Exception], ...] = (httpx.HTTPError, KeyError)

    def __init__(self, directory: Path, runtime: str, *, doors: bool = True, disk: bool = False, **more: str) -> None:
        """`disk`: the directory is a small file system, which may be filled. `more` are settings, by their variables."""
        self.home, self.runtime, self.port = directory / "home", runtime, free_ports()
        self.directory, self._door = directory, directory / "door" if doors else None
        self.disk: Path | None = directory if disk else None
        twice = ("worker2", "launcher2") if doors else ()
        self.parts: tuple[str, ...] = ("api", "worker", "launcher", "reaper", *twice)
        self.others: tuple[str, ...] = ("hub", "proxy", "forge", *(("egress",) if runtime == "local" else ()))
        self.proxies: dict[str, Proxy] = {}
        self.ended: Counter[str] = Counter()
        self.reality = _reality(runtime, self.home, more)
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("DOCKYARD_", "PYTEST_"))},
            "PYTHONPATH": str(ROOT), "DOCKYARD_HOME_PATH": str(self.home), "DOCKYARD_FRONT_PORT": str(self.port),
            "DOCKYARD_RUNTIME_NAME": runtime, "DOCKYARD_FRONT_HOLD": "0", "DOCKYARD_LIMITS_OPEN_PER_CLIENT": "0",
            "DOCKYARD_LIMITS_OPEN_TOTAL": "0", "DOCKYARD_BUILDS_CONCURRENCY": "4", **more}
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self.runtime == "fake":
            for path in (self.home, self.home / "fake", *(self.home / "fake" / name for name in ("builds", "images", "environments"))):
                path.mkdir(mode=0o755)
                path.chmod(0o755 if path == self.home else 0o777)
        account = service_account()
        home = open_home(self.home, account)
        database = Postgres(home.path / "pg", home.directory("run/pg"), home.secret("postgres"), account)
        redis = Valkey(home.directory("valkey"), home.directory("run/valkey"), account)
        self._pids = home.directory("run/pids", own=False)
        self.direct: Settings = load({"DOCKYARD_DATABASE_URL": database.url(), "DOCKYARD_REDIS_URL": redis.url()})
        hub = home.directory("run/hub", 0o710 if account else 0o700) / "hub.sock"
        if self._door is not None:
            self._door.mkdir(mode=0o711)
            self.proxies = {
                "postgres": Proxy(self._door / ".s.PGSQL.5432", home.directory("run/pg") / ".s.PGSQL.5432"),
                "valkey": Proxy(self._door / "valkey.sock", redis.socket), "hub": Proxy(self._door / "hub.sock", hub)}
            for proxy in self.proxies.values():
                await self._stop.enter_async_context(proxy)
        self.db = Database(self.direct.database, patience=5.0)
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)
        self._hub = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(hub)), base_url="http://localhost/hub/api/", timeout=10,
            headers={"authorization": f"token {home.secret('hub-token')}"})
        try:
            await self.up()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            for name in (*self.parts, *self.others, *self.servers):
                for pid in self.pids(name):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, 180)
            except subprocess.TimeoutExpired:
                kill(self._process.pid)
                self._process.wait()
        await self.db.aclose()
        await self.client.aclose()
        await self._hub.aclose()
        await self._stop.aclose()

    async def up(self) -> float:
        """Start it and wait until it is healthy; the seconds that took."""
        began = time.monotonic()
        words = ["tests.faults.up"] if self._door else [
            "cli", "up", "--home", str(self.home), "--port", str(self.port), "--runtime", self.runtime]
        with (self.directory / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", *words], cwd=ROOT, env=self.environ | ({DOORS: str(self._door)} if self._door else {}),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=dies_with_us(signal.SIGTERM, os.getpid()),
            )
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await self.client.get("/health")).status_code == 200:
                    return time.monotonic() - began
            if self._process.poll() is not None or time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"it did not become healthy:\n{self.logs()}")
            await asyncio.sleep(0.1)

    def kill_all(self, order: random.Random, *, runs: bool) -> int:
        """Kill -9 of the supervisor and all its children, in any order; with `runs` of all sandboxes too. How many."""
        assert self._process is not None
        found = [self._process.pid, *[child.pid for child in below(self._process.pid)]]
        if runs:
            found += [process.pid for process in psutil.process_iter() if _below(process, self.home / "local")]
        order.shuffle(found)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        return len(found)

    # -- what a fault needs --------------------------------------------------------------------------------------

    def _pid(self, name: str) -> int:
        with contextlib.suppress(OSError, ValueError, KeyError):
            told = json.loads((self._pids / name).read_text())
            if told["start"] is not None and leftovers.start_time(told["pid"]) == told["start"]:
                return int(told["pid"])
        return 0

    def pids(self, name: str) -> list[int]:
        """The process of a part; of Postgres all of them."""
        pid = self._pid(name)
        if pid and name == "postgres":
            with contextlib.suppress(psutil.Error):
                return [pid, *[child.pid for child in psutil.Process(pid).children()]]
        return [pid] if pid else []

    def alive(self, name: str) -> bool:
        """Whether it runs."""
        return bool(self._pid(name))

    async def end(self, name: str, number: signal.Signals) -> None:
        """End it; one that does not listen within its time is left to the kernel's mercy, as the supervisor would."""
        pid = self._pid(name)
        if not pid:
            return
        started, until = leftovers.start_time(pid), time.monotonic() + 20
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        while leftovers.start_time(pid) == started and time.monotonic() < until:
            await asyncio.sleep(0.02)

    async def revive(self, name: str) -> None:
        """The supervisor does it."""

    async def query(self, statement: str, **parameters: Any) -> list[Any]:
        """Rows, past the doors."""
        import sqlalchemy as sa

        return await self.db.rows(sa.text(statement), parameters)

    async def hub_users(self) -> dict[str, Any]:
        """The hub's users with their servers."""
        users: dict[str, Any] = {}
        offset: int | None = 0
        while offset is not None:
            answer = await self._hub.get("users", params={"limit": 200, "offset": offset},
                                         headers={"accept": "application/jupyterhub-pagination+json"})
            page = answer.raise_for_status().json()
            users |= {item["name"]: item["servers"] for item in page["items"]}
            offset = page["_pagination"]["next"] and page["_pagination"]["next"]["offset"]
        return users

    async def hub_routes(self) -> list[str]:
        """The routes that the proxy has."""
        return list((await self._hub.get("proxy", params={"limit": 200})).raise_for_status().json())

    def logs(self) -> str:
        """The last lines of everything."""
        files = [self.directory / "up.log", *sorted((self.home / "log").glob("*.log"))]
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in files if path.exists())


def _reality(runtime: str, home: Path, settings: Mapping[str, str]) -> Reality:
    if runtime == "docker":
        return DockerReality(settings.get("DOCKYARD_DOCKER_INSTALLATION", "dockyard"))
    return LocalReality(home) if runtime == "local" else FakeReality(home)


def _below(process: psutil.Process, directory: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(word.startswith(f"{directory}/") for word in process.cmdline())
    return False
