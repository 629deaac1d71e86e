"""The embedded PostgreSQL: who may connect, a crash, another version, a lock that is nobody's."""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from cli.embedded.postgres import Postgres, copy_installation
from services.errors import Misconfigured
from tests import servers


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the account can enter (pytest's own is root's alone) and whose path is short."""
    with tempfile.TemporaryDirectory(prefix="dockyard-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def test_it_is_ours_alone_and_survives_a_crash(directory: Path) -> None:
    async with servers.postgres(directory) as server:
        connection = await asyncpg.connect(servers.plain(server.url("postgres")))
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert await connection.fetchval("SELECT setting FROM pg_settings WHERE name = 'server_version_num'") >= "180000"
        await connection.execute("CREATE TABLE kept (n int)")
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(servers.plain(server.url("postgres")).replace(server.password, "wrong"))
    (directory / "pg/postmaster.pid").write_text("1\n")  # process 1 is not a PostgreSQL of these data
    again = Postgres(server.data, server.run, server.password, server.account, server.settings)
    again.prepare()
    command = servers.command(again.command(), again.account)
    async with servers.running(command, directory / "again.log") as child:
        while again.status() != "ready":
            assert child.running, list(child.tail)
            await asyncio.sleep(0.01)
        connection = await asyncpg.connect(servers.plain(server.url("postgres")))
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0
        await connection.close()


def test_a_copy_of_the_binaries_runs(directory: Path) -> None:
    wheel = Postgres(directory / "pg", directory, "x").binaries
    copy = directory / "pg.bin" / wheel.parent.name / wheel.name
    copy_installation(wheel, copy)
    for program in ("postgres", "initdb", "createdb"):
        done = subprocess.run([copy / "bin" / program, "--version"], capture_output=True, text=True, check=True, env={})
        assert "PostgreSQL) 18" in done.stdout


def test_data_of_another_version_are_refused(directory: Path) -> None:
    (directory / "pg").mkdir()
    (directory / "pg/PG_VERSION").write_text("16\n")
    with pytest.raises(Misconfigured, match=r"written by PostgreSQL 16, this Dockyard runs PostgreSQL 18: make a backup"):
        Postgres(directory / "pg", directory, "x").prepare()


def test_a_directory_of_something_else_is_refused(directory: Path) -> None:
    (directory / "pg").mkdir()
    (directory / "pg/letter").touch()
    with pytest.raises(Misconfigured, match="holds no PostgreSQL database"):
        Postgres(directory / "pg", directory, "x").prepare()
