"""api, worker, launcher and reaper as real processes on a test's own database, with a hub that starts nothing.

For tests of what happens between the processes: they can be killed, paused and started again one by one. The runtime is `fake` (see
`services.runtimes.fake`: the name of a repository says what its build does), unless the environment says otherwise.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from bench.ports import free_port
from services.db import Database
from services.settings import Settings, load
from tests import processes, servers

ROOT = Path(__file__).resolve().parents[1]
SHA = "0123456789abcdef0123456789abcdef01234567"
ADMIN = "the-admin-token-of-the-tests"


def spec(script: str, sha: str = SHA) -> str:
    """The path of a launch whose fake build does what the script says; pinned, so nothing is fetched."""
    return f"git/{quote(f'https://example.org/{script}', safe='')}/{sha}"


@contextlib.asynccontextmanager
async def own_settings(directory: Path, number: int = 63) -> AsyncIterator[tuple[Settings, Path]]:
    """A database, a prefix in Valkey and settings for processes that a whole file of tests shares."""
    admin, name = servers.addresses()["postgres"], f"test_{secrets.token_hex(8)}"
    await servers.clone(admin, name)
    try:
        yield load({
            "DOCKYARD_DATABASE_URL": admin.replace("@/postgres?", f"@/{name}?"),
            "DOCKYARD_REDIS_URL": f"unix://{servers.addresses()['valkey']}?db={number}",
            "DOCKYARD_REDIS_PREFIX": f"test-{secrets.token_hex(4)}",
            "DOCKYARD_RUNTIME_NAME": "fake", "DOCKYARD_HOME_PATH": str(directory / "home"), "DOCKYARD_HOME_SECRET": "00" * 32,
            "DOCKYARD_AUTH_ADMIN_TOKEN": "the-admin-token-of-the-tests",
        }), directory
    finally:
        await servers.drop(admin, name)


class Stack:
    """The processes of one installation."""

    def __init__(self, settings: Settings, directory: Path, **more: str) -> None:
        self.directory = directory
        self.root = ROOT  # where the code is that is started
        self.port, self.hub_port = free_port(), free_port()
        self.settings = settings
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
            "DOCKYARD_DATABASE_URL": settings.database.url.get_secret_value(),
            "DOCKYARD_REDIS_URL": settings.redis.url.get_secret_value(),
            "DOCKYARD_REDIS_PREFIX": settings.redis.prefix,
            "DOCKYARD_RUNTIME_NAME": settings.runtime.name,
            "DOCKYARD_HOME_PATH": settings.home.path,
            "DOCKYARD_HOME_SECRET": settings.home.secret.get_secret_value(),
            "DOCKYARD_AUTH_ADMIN_TOKEN": settings.auth.admin_token.get_secret_value(),
            "DOCKYARD_HUB_URL": f"http://127.0.0.1:{self.hub_port}/hub/api/",
            "DOCKYARD_HUB_PUBLIC_URL": f"http://localhost:{self.hub_port}/",
            "DOCKYARD_HUB_TOKEN": "hub-token", "DOCKYARD_HUB_RETRY_DELAY": "0.2",
            "DOCKYARD_FRONT_PORT": str(self.port), "DOCKYARD_FRONT_HOLD": "0", "DOCKYARD_PROVIDERS_TIMEOUT": "120",
            "DOCKYARD_LEASES_SECONDS": "3", "DOCKYARD_LEASES_DRAIN": "1", "DOCKYARD_BUILDS_GRACE": "3",
            "DOCKYARD_REAPER_EVERY": "1", "DOCKYARD_REAPER_ORPHAN_AGE": "1",
            **more,
        }
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=120)
        self.db: Database

    async def __aenter__(self) -> Self:
        self.db = Database(self.settings.database)
        self.start("hub", "bench.mock_hub", "--port", str(self.hub_port))
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.to_thread(process.wait, 60)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        await self.client.aclose()
        await self.db.aclose()

    def start(self, name: str, module: str = "", *arguments: str, **more: str) -> None:
        """Start one process; its output goes to a file of its name."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module or name, *arguments], cwd=self.root,
                env={**self.environment, "PYTHONPATH": str(self.root), **more},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        processes.minded.add(self.processes[name].pid)

    async def up(self, *names: str) -> None:
        """Start processes and wait until the api answers, if it is one of them."""
        for name in names or ("api", "worker", "launcher"):
            self.start(name)
        if not names or "api" in names:
            await self.until(self._answers)

    async def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/livez")).status_code < 500
        return False

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and wait for the end unless it only pauses."""
        process = self.processes[name]
        process.send_signal(number)
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            await asyncio.to_thread(process.wait, 120)

    async def until(self, condition: Any, seconds: float = 120.0) -> Any:
        """Wait until a coroutine function gives something true; fails loudly with the processes' logs."""
        deadline = time.monotonic() + seconds
        while True:
            found = await condition()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s\n{self.logs()}")
            await asyncio.sleep(0.05)

    def release(self, script: str) -> None:
        """Let a fake build that is held (`hold-N`) go on."""
        path = Path(self.settings.home.path) / "fake" / "released" / script
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def logs(self) -> str:
        """The last lines of every process."""
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(self.directory.glob("*.log")))

    async def query(self, statement: str, **parameters: Any) -> list[Any]:
        """Rows of a statement."""
        import sqlalchemy as sa

        return await self.db.rows(sa.text(statement), parameters)

    # -- streams ---------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def stream(self, path: str, last: str = "", headers: Mapping[str, str] | None = None) -> AsyncIterator["Stream"]:
        """An open `/build/…` stream."""
        sent = {"accept": "text/event-stream", **(headers or {})}
        if last:
            sent["last-event-id"] = last
        async with self.client.stream("GET", f"/build/{path}", headers=sent, timeout=120) as response:
            yield Stream(response)

    async def launch(self, path: str) -> list[dict[str, Any]]:
        """Everything that a launch says, until its stream ends."""
        events: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(150), self.stream(path) as stream:
                async for event in stream:
                    events.append(event)  # noqa: PERF401 - they are shown if the stream does not end
        except TimeoutError:
            raise AssertionError(f"no end after {events[-3:]}\n{self.logs()}") from None
        return events


class Stream:
    """Reads events; `last` is the position to come back with."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last = ""
        self._lines = response.aiter_lines()

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self.events()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Events with their ids."""
        seen = self.last
        async for line in self._lines:
            if line.startswith("id: "):
                seen = line[4:]
            elif line.startswith("data: "):
                self.last = seen
                yield {**json.loads(line[6:]), "id": seen}

    async def until(self, condition: Any) -> dict[str, Any]:
        """The first event for which the condition holds."""
        async for event in self:
            if condition(event):
                return event
        raise AssertionError("the stream ended before")


def log_of(events: list[dict[str, Any]]) -> list[str]:
    """The messages of the log lines among events."""
    return [event["message"] for event in events if "kind" not in event]
