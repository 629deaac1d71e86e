"""Backup and restore of an embedded home: of one that runs, of one that does not, of one of an older PostgreSQL."""

import asyncio
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import typer

from cli.commands.backup import backup, restore
from cli.embedded.account import service_account
from cli.embedded.brief import running, started
from cli.embedded.home import Home, hold, open_home
from cli.embedded.postgres import Postgres
from services.db import migrate
from tests.servers import plain

IMAGE = "local/saved:1"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the account may pass, as a home's parent has to be."""
    with tempfile.TemporaryDirectory(prefix="dockyard-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def made(path: Path, major: str) -> tuple[Home, Postgres]:
    """A home in which something has happened: a ready launch, one that is being built, an image."""
    home = open_home(path, service_account())
    home.secret("key")
    server = Postgres(path / "pg", home.directory("run/pg"), home.secret("postgres"), home.account, {"fsync": "off"}, major=major)
    with started(server, home.log("postgres")):
        server.create()
        asyncio.run(migrate.upgrade(server.url()))
        server.sql(f"""
            INSERT INTO build (id, image, state, provider, repo_url, commit) VALUES ('b', '{IMAGE}', 'building', 'git', 'u', 'c');
            INSERT INTO launch (id, state, caller, client, provider, spec, repo, ref, build, lease_owner, url) VALUES
              ('ready', 'ready', 'c', 'a', 'git', 's', 'r', 'HEAD', NULL, NULL, 'http://localhost/'),
              ('open', 'building', 'c', 'a', 'git', 's', 'r', 'HEAD', 'b', 'dead', NULL);
            INSERT INTO event (launch, seq, kind, state, data) VALUES ('open', 1, 'waiting', 'waiting', '{{"a": "ü"}}');
            INSERT INTO image (name) VALUES ('{IMAGE}');
        """)
    return home, server


def found(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """What the rows of a home say."""
    async def ask(url: str) -> dict[str, list[tuple[object, ...]]]:
        connection = await asyncpg.connect(plain(url))
        try:
            return {
                "launch": [tuple(row) for row in await connection.fetch(
                    "SELECT id, state, target, stop_reason, lease_owner FROM launch ORDER BY id")],
                "build": [tuple(row) for row in await connection.fetch("SELECT state, attempt FROM build")],
                "image": [tuple(row) for row in await connection.fetch("SELECT name, gone FROM image")],
                "event": [tuple(row) for row in await connection.fetch("SELECT data->>'a' FROM event")],
            }
        finally:
            await connection.close()

    with running(Home(path, (path / "run").resolve(), service_account())) as server:
        return asyncio.run(ask(server.url()))


def fails(*words: object, command: object = backup) -> None:
    with pytest.raises(typer.Exit):
        command(*words)  # type: ignore[operator]


@pytest.mark.parametrize("major", ["18", "16"])
def test_a_home_is_restored_elsewhere_as_it_was(place: Path, major: str, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, file = place / "old", place / "elsewhere" / "new", place / "saved.tar"
    (place / "elsewhere").mkdir(mode=0o711)
    made(old, major)
    config = place / "dockyard.toml"
    config.write_text("[front]\nname = 'Ours'\n")
    os.umask(0o022)
    assert backup(file, old, config) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert "rights of an administrator" in capsys.readouterr().out
    fails(file, old, None)
    assert f"{file} exists already" in capsys.readouterr().err
    assert not list(place.glob(".saved*"))
    assert restore(file, new) == 0
    assert (new / "pg/PG_VERSION").read_text().strip() == "18"
    for name in ("key", "postgres"):
        assert (new / "secret" / name).read_text() == (old / "secret" / name).read_text()
        assert (new / "secret" / name).stat().st_mode & 0o777 == 0o600
    assert (new / "settings.toml").read_text() == config.read_text()
    assert found(new) == {
        "launch": [("open", "building", "ready", None, None), ("ready", "ready", "stopped", "lost", None)],
        "build": [("queued", 2)], "image": [(IMAGE, True)], "event": [("ü",)],
    }
    fails(file, new, command=restore)
    assert "holds a database already" in capsys.readouterr().err


def test_a_home_that_runs_is_saved_as_it_is_at_one_moment(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, server = made(place / "home", "18")
    with hold(home):
        fails(place / "early.tar", home.path, None)  # `up` has it, and its database does not answer yet
        assert "starting or stopping" in capsys.readouterr().err
        with started(server, home.log("postgres")):
            assert backup(place / "saved.tar", home.path, None) == 0
            assert server.status() == "ready"
    assert restore(place / "saved.tar", place / "new") == 0
    assert [row[0] for row in found(place / "new")["launch"]] == ["open", "ready"]


def test_what_is_no_backup_or_a_damaged_one_makes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, _ = made(place / "home", "18")
    assert backup(place / "saved.tar", home.path, None) == 0
    whole = (place / "saved.tar").read_bytes()
    for content, words in ((b"nothing", "is not a backup"), (whole[: len(whole) // 2], "")):
        (place / "bad.tar").write_bytes(content)
        fails(place / "bad.tar", place / "new", command=restore)
        assert words in capsys.readouterr().err
        assert not (place / "new/pg").exists()
    # A name in the archive leads nowhere.
    shutil.copy(place / "saved.tar", place / "evil.tar")
    with tarfile.open(place / "evil.tar", "a") as archive:
        link = tarfile.TarInfo("secret/../../escaped")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert restore(place / "evil.tar", place / "new") == 0
    assert not (place / "escaped").exists()
    fails(place / "x.tar", place / "nowhere", None)
    assert "is not the home of an embedded Dockyard" in capsys.readouterr().err
