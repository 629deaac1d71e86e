"""Fixtures of the whole suite: a database of its own for every test, Valkey, settings that lead to both."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest
import redis.asyncio

from bench.ports import free_port
from services.db import Database
from services.settings import Settings, load
from tests import processes, servers

_known: frozenset[int] = frozenset()
hypothesis.settings.register_profile("dockyard", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("dockyard")


def pytest_configure(config: pytest.Config) -> None:
    """Forget the caller's settings and make a directory for the servers, once for all processes of the run."""
    if not hasattr(config, "workerinput"):
        for name in [name for name in os.environ if name.startswith("DOCKYARD_")]:
            del os.environ[name]
        servers.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers with the run."""
    if not hasattr(config, "workerinput"):
        servers.end()


@pytest.fixture(autouse=True)
async def nothing_runs_on() -> AsyncIterator[None]:
    """A test that leaves a process behind is the one that fails, not another that meets the process later."""
    global _known
    before = processes.children(_known)
    yield
    _known = processes.children(before)
    if left := {pid: " ".join(processes.words(pid)) for pid in _known - before}:
        try:
            await processes.gone(*left)
        except TimeoutError:
            for pid in filter(processes.alive, left):
                processes.kill(pid)
            pytest.fail(f"ran on after the test: {left}")


@pytest.fixture
async def database_url() -> AsyncIterator[str]:
    """A migrated, empty database that is this test's alone, as SQLAlchemy's address."""
    admin, name = servers.addresses()["postgres"], f"test_{secrets.token_hex(8)}"
    await servers.clone(admin, name)
    yield admin.replace("@/postgres?", f"@/{name}?")
    await servers.drop(admin, name)


@pytest.fixture
async def redis_url(worker_id: str) -> str:
    """An empty Valkey database. Channels are shared by the whole run: use the prefix of `settings`."""
    number = int(worker_id.removeprefix("gw")) + 1 if worker_id.startswith("gw") else 0
    url = f"unix://{servers.addresses()['valkey']}?db={number % servers.DATABASES}"
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.flushdb()
    return url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a process on this test's servers, with the runtime `fake` and a home of its own."""
    return load({
        "DOCKYARD_DATABASE_URL": database_url,
        "DOCKYARD_REDIS_URL": redis_url,
        "DOCKYARD_REDIS_PREFIX": f"test-{secrets.token_hex(4)}",
        "DOCKYARD_RUNTIME_NAME": "fake",
        "DOCKYARD_HOME_PATH": str(tmp_path / "home"),
        "DOCKYARD_HOME_SECRET": "00" * 32,
        "DOCKYARD_AUTH_ADMIN_TOKEN": "the-admin-token-of-the-tests",
    })


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    """This test's database, as the product opens it."""
    found = Database(settings.database)
    yield found
    await found.aclose()


@pytest.fixture
def unused_tcp_port() -> int:
    """A port at which nobody listens as long as this test runs; that of pytest-asyncio is anybody's again at once."""
    return free_port()
