"""An installation that can be broken anywhere: every process real, Postgres and Valkey of its own, a proxy before each of
them and before the hub.

A process that ends by itself is started again, as `up` would do, and noted. The hub is the mock hub, which remembers its
users and servers when it is killed; builds are the fake runtime's.
"""

import asyncio
import contextlib
import os
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import httpx

from bench.ports import free_port
from cli.embedded.account import service_account
from cli.embedded.child import Child, Command, Log
from cli.embedded.postgres import Postgres
from cli.embedded.valkey import Valkey
from services.db import Database, migrate
from services.settings import Settings, load
from tests.faults.proxy import Proxy
from tests.faults.reality import FakeReality, Reality
from tests.processes import below
from tests.servers import FAST, command
from tests.stack import Stack

PARTS = ("api", "worker", "worker2", "launcher", "launcher2", "reaper")
# Durable, since it is killed; the rest of the tests' settings.
_DURABLE = FAST | {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class Served:
    """One server process that is stopped, killed and started again."""

    def __init__(self, server: Postgres | Valkey, how: Command, log: Path) -> None:
        self.server = server
        self._how = how
        self._log = Log(log)
        self._child: Child

    async def start(self) -> None:
        """Start it and wait until it answers; a server that fails to start is tried again."""
        for _ in range(20):
            self._child = Child(self._how, self._log)
            await self._child.start()
            while self._child.running:
                if await self._ready():
                    return
                await asyncio.sleep(0.02)
            await self._child.wait()
            await asyncio.sleep(0.2)
        raise RuntimeError("\n".join(self._child.tail))

    async def _ready(self) -> bool:
        if isinstance(self.server, Postgres):
            return self.server.status() == "ready"
        return await self.server.ready()

    async def end(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        if self._child.running:
            os.kill(self._child.pid, number)
        await self._child.wait()

    @property
    def pid(self) -> int:
        """Its process; 0 where it does not run."""
        return self._child.pid if self._child.running else 0

    async def close(self) -> None:
        """Stop it for good."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, signal.SIGCONT)
        await self._child.stop()
        self._log.close()


class Site(Stack):
    """All processes with their dependencies. Use as `async with`, in a short directory."""

    parts: tuple[str, ...] = PARTS
    others: tuple[str, ...] = ("hub",)
    servers: tuple[str, ...] = ("postgres", "valkey")
    disk: Path | None = None
    troubles: tuple[type[Exception], ...] = (httpx.HTTPError,)

    def __init__(self, directory: Path, **more: str) -> None:
        account = service_account()
        for name in ("postgres", "valkey", "door"):
            (directory / name).mkdir(mode=0o700)
        if account:
            account.own(directory / "postgres", directory / "valkey")
            directory.chmod(0o711)
        database = Postgres(directory / "pg", directory / "postgres", secrets.token_hex(16), account, _DURABLE)
        redis = Valkey(directory / "valkey", directory / "valkey", account)
        self.postgres = Served(database, command(database.command(), account, signal.SIGINT), directory / "postgres.log")
        self.valkey = Served(redis, command(redis.command(), account), directory / "valkey.log")
        self.hub_behind = free_port()
        door = directory / "door"
        url = database.url()
        self.direct = _settings(directory, url, redis.url())
        proxied = url.replace(str(directory / "postgres"), str(door))
        super().__init__(
            _settings(directory, proxied, f"unix://{door}/valkey.sock?db=0"), directory, DOCKYARD_LEASES_POLL="0.5",
            DOCKYARD_LIMITS_OPEN_PER_CLIENT="0", DOCKYARD_LIMITS_OPEN_TOTAL="0", DOCKYARD_BUILDS_CONCURRENCY="4", **more)
        self.proxies: dict[str, Proxy] = {
            "postgres": Proxy(door / ".s.PGSQL.5432", directory / "postgres" / ".s.PGSQL.5432"),
            "valkey": Proxy(door / "valkey.sock", redis.socket),
            "hub": Proxy(self.hub_port, self.hub_behind),
        }
        self.reality: Reality = FakeReality(Path(self.settings.home.path))
        self.ended: Counter[str] = Counter()  # parts that ended by themselves
        self._down: set[str] = set()  # parts that were ended on purpose
        self._stop = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        for served in (self.postgres, self.valkey):
            await asyncio.to_thread(served.server.prepare)
            await served.start()
            self._stop.push_async_callback(served.close)
        assert isinstance(self.postgres.server, Postgres)
        await asyncio.to_thread(self.postgres.server.create)
        await migrate.upgrade(self.postgres.server.url())
        for proxy in self.proxies.values():
            await self._stop.enter_async_context(proxy)
        self.db = Database(self.direct.database)
        self.start_part("hub")
        await self.up(*PARTS)
        watch = asyncio.create_task(self._supervise())
        self._stop.callback(watch.cancel)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._down |= self.processes.keys()
        await super().__aexit__(*exc)
        await self._stop.aclose()

    async def up(self, *names: str) -> None:
        """Start parts and wait for the api."""
        for name in names:
            self.start_part(name)
        await self.until(self._answers)

    def start_part(self, name: str) -> None:
        """Start one part; `worker2` is a second worker."""
        self._down.discard(name)
        if name == "hub":
            self.start(
                "hub", "bench.mock_hub", "--port", str(self.hub_behind), "--delay", "0.1", "--state", str(self.directory / "hub.json"))
        else:
            self.start(name, name.rstrip("2"))

    async def end_part(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End one part on purpose."""
        self._down.add(name)
        await self.kill(name, number)

    def pids(self, name: str) -> list[int]:
        """A part's process, or a server's."""
        if name in self.servers:
            pid = getattr(self, name).pid
            return [pid, *[child.pid for child in below(pid)]] if pid else []
        process = self.processes[name]
        return [process.pid] if process.poll() is None else []

    def alive(self, name: str) -> bool:
        """Whether it runs and was not ended on purpose."""
        return name not in self._down and (name not in self.processes or self.processes[name].poll() is None)

    async def end(self, name: str, number: signal.Signals) -> None:
        """End a part or a server."""
        if name in self.servers:
            self._down.add(name)
            await getattr(self, name).end(number)
        else:
            await self.end_part(name, number)

    async def revive(self, name: str) -> None:
        """Start it again."""
        if name in self.servers:
            await getattr(self, name).start()
            self._down.discard(name)
        else:
            self.start_part(name)

    async def hub_users(self) -> dict[str, Any]:
        """The mock hub's users, past the proxy."""
        users: dict[str, Any] = {}
        url: str | None = f"http://127.0.0.1:{self.hub_behind}/hub/api/users?limit=1000"
        while url:
            page = (await self.client.get(url)).json()
            users |= {item["name"]: item["servers"] for item in page["items"]}
            following = page["_pagination"]["next"]
            url = f"http://127.0.0.1:{self.hub_behind}/hub/api/users?limit=1000&offset={following['offset']}" if following else None
        return users

    async def hub_routes(self) -> list[str]:
        """The mock hub has no proxy."""
        return []

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            for name, process in list(self.processes.items()):
                if name not in self._down and process.poll() is not None:
                    self.ended[name] += 1
                    self.start_part(name)


def _settings(directory: Path, database: str, redis: str) -> Settings:
    return load({
        "DOCKYARD_DATABASE_URL": database, "DOCKYARD_REDIS_URL": redis, "DOCKYARD_RUNTIME_NAME": "fake",
        "DOCKYARD_HOME_PATH": str(directory / "home"), "DOCKYARD_HOME_SECRET": "00" * 32,
        "DOCKYARD_AUTH_ADMIN_TOKEN": "the-admin-token-of-the-tests",
    })


@contextlib.asynccontextmanager
async def site(directory: Path, **more: str) -> AsyncIterator[Site]:
    """A running site in a directory that exists and is empty."""
    async with Site(directory, **more) as found:
        yield found
