"""Restarts and upgrades under load: whoever launches meanwhile gets a server, and is told everything once.

Two of each process run side by side, as replicas do, and are stopped one after the other. In the second test the first two are
the code of an earlier schema, from the history of the repository, and the schema is migrated under their hands.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.ports import free_port
from services.db import migrate
from services.settings import Settings, load
from tests import servers
from tests.stack import ADMIN, ROOT, Stack, own_settings, spec

pytestmark = pytest.mark.xdist_group("rolling")
LINES = 12
# Whoever is told to stop hands over soon, and whoever is slow has not crashed.
PATIENT = {"DOCKYARD_LEASES_DRAIN": "0.3", "DOCKYARD_LEASES_SECONDS": "600"}


class Replicas:
    """Two api processes by their ports, and clients that go on at the other one."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.ports: list[int] = []
        self.told: list[list[dict[str, Any]]] = []
        self.stopping = False

    async def api(self, name: str) -> None:
        """Start one more, and send clients there once it is ready."""
        port = free_port()
        self.stack.start(name, "api", DOCKYARD_FRONT_PORT=str(port))

        async def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                async with httpx.AsyncClient(timeout=120) as client:
                    return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            return False

        await self.stack.until(ready, 150)
        self.ports.append(port)

    async def launch(self, script: str, client: httpx.AsyncClient) -> list[dict[str, Any]]:
        """One launch to its end, across as many connections as it takes."""
        told: list[dict[str, Any]] = []
        last, turn = "", secrets.randbelow(100)
        async with asyncio.timeout(150):
            while True:
                port = self.ports[turn % len(self.ports)]
                headers = {"accept": "text/event-stream", **({"last-event-id": last} if last else {})}
                with contextlib.suppress(httpx.TransportError):
                    async with client.stream("GET", f"http://127.0.0.1:{port}/build/{spec(script)}", headers=headers) as response:
                        async for line in response.aiter_lines():
                            if line.startswith("id: "):
                                seen = line[4:]
                            elif line.startswith("data: "):
                                told.append(json.loads(line[6:]))
                                last = seen
                if told and told[-1].get("phase") in ("ready", "failed"):
                    return told
                if not last:
                    told.clear()  # nothing of it has an id yet: it may be begun anew
                turn += 1
                await asyncio.sleep(0.1)

    async def load(self, number: int) -> None:
        """Launch one after the other, every second time something new, until told to stop."""
        async with httpx.AsyncClient(timeout=60) as client:
            count = 0
            while not self.stopping:
                name = f"of-{number}-{count // 2}-{id(self)}"
                self.told.append(await self.launch(f"lines-{LINES}+slow-1+{name}", client))
                count += 1

    @contextlib.asynccontextmanager
    async def under_load(self, clients: int) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.load(number)) for number in range(clients)]
        try:
            yield
            self.stopping = True
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def served(self, more: int) -> None:
        """Wait until so many further launches have ended."""
        goal = len(self.told) + more

        async def enough() -> bool:
            return len(self.told) >= goal

        await self.stack.until(enough, 150)

    async def check(self) -> None:
        """Everybody has a server and every line once, in order; no build ran twice; nothing is left in hand."""
        for told in self.told:
            assert told[-1].get("phase") == "ready", f"{told[-3:]}\n{self.stack.logs()}"
            lines = [event["message"] for event in told if event.get("message", "").startswith("line ")]
            assert lines in ([], [f"line {n} of {LINES}\n" for n in range(1, LINES + 1)])
        (row,) = await self.stack.query("""
            SELECT (SELECT count(*) FROM build WHERE state <> 'built' OR attempt > 1 OR crashes > 0) AS builds,
              (SELECT count(*) FROM launch WHERE state <> 'ready') AS launches, (SELECT count(*) FROM launch WHERE crashes > 0) AS crashed,
              (SELECT count(*) FROM (SELECT image FROM build GROUP BY image HAVING count(*) > 1) twice) AS twice
        """)
        assert tuple(row) == (0, 0, 0, 0)


async def test_a_rolling_restart_under_load_loses_nothing(tmp_path: Path) -> None:
    async with own_settings(tmp_path) as (settings, directory), Stack(settings, directory, **PATIENT) as stack:
        replicas = Replicas(stack)
        for name in ("one", "two"):
            stack.start(f"worker-{name}", "worker")
            stack.start(f"launcher-{name}", "launcher")
            await replicas.api(f"api-{name}")
        async with replicas.under_load(3):
            await replicas.served(3)
            for name in ("one", "two"):
                for part in ("worker", "launcher"):
                    await stack.kill(f"{part}-{name}", signal.SIGTERM)  # a build of a second outlives the drain: it is handed over
                    stack.start(f"{part}-{name}", part)
                await stack.kill(f"api-{name}", signal.SIGTERM)
                replicas.ports.pop(0)
                await replicas.api(f"api-{name}-again")
                await replicas.served(3)
        await replicas.check()


def old_code(directory: Path) -> Path:
    """The code just before the second migration, as a tree of its own; skips where there is no history."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        added = git("log", "--diff-filter=A", "--format=%H", "--", "migrations/versions/0002_*.py").splitlines()
        tree = git("rev-parse", f"{added[-1]}^{{commit}}^")
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", tree], capture_output=True, check=True).stdout
    except (subprocess.CalledProcessError, OSError, IndexError):
        pytest.skip("the history of the repository is not here")
    directory.mkdir()
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive, check=True)
    return directory


@contextlib.asynccontextmanager
async def old_database(directory: Path) -> AsyncIterator[Settings]:
    """A database of the first schema."""
    import asyncpg

    admin, name = servers.addresses()["postgres"], f"test_{secrets.token_hex(8)}"
    connection = await asyncpg.connect(servers.plain(admin))
    await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    await connection.close()
    url = admin.replace("@/postgres?", f"@/{name}?")
    await migrate.upgrade(url, "0001")
    try:
        yield load({
            "DOCKYARD_DATABASE_URL": url, "DOCKYARD_REDIS_URL": f"unix://{servers.addresses()['valkey']}?db=63",
            "DOCKYARD_REDIS_PREFIX": f"test-{secrets.token_hex(4)}", "DOCKYARD_RUNTIME_NAME": "fake",
            "DOCKYARD_HOME_PATH": str(directory / "home"), "DOCKYARD_HOME_SECRET": "00" * 32, "DOCKYARD_AUTH_ADMIN_TOKEN": ADMIN,
        })
    finally:
        await servers.drop(admin, name)


async def migrated(stack: Stack, phase: str) -> str:
    """What `migrate` says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "migrate", "--phase", phase, env=stack.environment, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    return told.decode()


async def test_an_upgrade_of_the_schema_under_the_old_code_loses_nothing(tmp_path: Path) -> None:
    old = old_code(tmp_path / "old")
    async with old_database(tmp_path) as settings, Stack(settings, tmp_path, **PATIENT) as stack:
        replicas, stack.root = Replicas(stack), old
        stack.start("worker-old", "worker")
        stack.start("launcher-old", "launcher")
        await replicas.api("api-old")
        async with replicas.under_load(3):
            await replicas.served(3)
            assert "Migrated to" in await migrated(stack, "before")
            await replicas.served(3)  # by the old code, on the new schema
            stack.root = ROOT
            stack.start("worker-new", "worker")
            stack.start("launcher-new", "launcher")
            await replicas.api("api-new")
            await replicas.served(3)  # by both
            for part in ("worker", "launcher", "api"):
                await stack.kill(f"{part}-old", signal.SIGTERM)
            replicas.ports.pop(0)
            await replicas.served(3)
        await replicas.check()
        await migrated(stack, "after")
        assert [await migrate.current(settings.database.url.get_secret_value())] == migrate.heads()
