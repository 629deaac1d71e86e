"""`dockyard backup` and `dockyard restore`: the embedded home, in one file; see `cli.embedded.archive` for what it holds."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from cli.commands import edge
from cli.embedded import archive
from cli.embedded.account import service_account
from cli.embedded.brief import running, server_of, started
from cli.embedded.home import Home, default_path, hold, open_home
from cli.embedded.postgres import major_of
from services import VERSION
from services.errors import Misconfigured
from services.settings import load

# What was under way is begun again: nothing of it has come along. Servers are gone, and so are images until they are built.
_ARRIVE = """
BEGIN;
UPDATE launch SET lease_owner = NULL, lease_until = NULL, crashes = 0, due = now()
  WHERE state IN ('waiting', 'resolving', 'building', 'launching', 'ready', 'stopping');
UPDATE launch SET target = 'stopped', stop_reason = 'lost' WHERE state = 'ready' AND target = 'ready';
UPDATE build SET state = 'queued', attempt = attempt + 1, source_line = 0, makes_environment = false, crashes = 0, due = now(),
  lease_owner = NULL, lease_until = NULL WHERE state IN ('queued', 'fetching', 'building', 'pushing');
UPDATE image SET gone = true, held_until = NULL;
DO $$ BEGIN
  IF to_regclass('process') IS NOT NULL THEN DELETE FROM process; DELETE FROM dependency; UPDATE outlet SET lease_owner = NULL; END IF;
  IF EXISTS (SELECT FROM information_schema.columns WHERE table_name = 'sweep' AND column_name = 'lease_owner')
  THEN UPDATE sweep SET lease_owner = NULL, lease_until = NULL, last_at = NULL; END IF;
END $$;
COMMIT;
"""


def _path(home: Path | None) -> Path:
    configured = load().home.path
    return (home or (Path(configured) if configured else default_path())).absolute()


def backup(target: Path, home: Path | None, config: Path | None) -> int:
    """Save a home, whether it runs or not; the exit status."""
    with edge.sentences():
        path = _path(home)
        if not (path / "pg").exists() or not (path / "secret/postgres").exists():
            raise Misconfigured(f"{path} is not the home of an embedded Dockyard: name one with --home.")
        target = target.absolute()
        if os.path.lexists(target):
            raise Misconfigured(f"{target} exists already: choose another name, or move it away.")
        if not target.parent.is_dir():
            raise Misconfigured(f"The directory {target.parent} does not exist.")
        opened = Home(path, (path / "run").resolve(), service_account())
        with tempfile.TemporaryFile(dir=target.parent) as dump:
            with running(opened, old=True) as server:
                server.dump(dump)
            archive.write(target, archive.Backup(_manifest(path), _secrets(path), config.read_bytes() if config else None), dump)
        print(f"{target} holds the database and the secrets of {path}: {target.stat().st_size >> 10} KB. Keep it safe: "
              "whoever can read it has the rights of an administrator.")
    return 0


def _manifest(path: Path) -> dict[str, object]:
    return {
        "format": archive.FORMAT, "dockyard": VERSION, "postgresql": major_of(path / "pg"), "home": str(path), "made_at": time.time(),
        "user": os.geteuid(),
    }


def _secrets(path: Path) -> dict[str, str]:
    found = {one.name: one.read_text().strip() for one in (path / "secret").iterdir() if one.is_file() and not one.name.startswith(".")}
    return dict(sorted(found.items()))


def restore(source: Path, home: Path | None) -> int:
    """Fill a new home out of a backup; the exit status."""
    with edge.sentences():
        path = _path(home)
        if (path / "pg").exists() and any((path / "pg").iterdir()):
            raise Misconfigured(f"{path} holds a database already, which is not overwritten: choose another --home, or move it away.")
        with tempfile.TemporaryFile() as dump:
            found = archive.read(source.absolute(), dump)
            account = service_account()
            opened = open_home(path, account)
            with hold(opened):
                _fill(opened, found)
                server = server_of(opened)
                try:
                    with started(server, opened.log("postgres")):
                        server.create()
                        server.restore(dump)
                        server.sql(_ARRIVE)
                except BaseException:
                    shutil.rmtree(path / "pg", ignore_errors=True)  # so that it can be tried again
                    raise
        print(f"{path} holds what was saved from {found.manifest.get('home')}. Start it with ./dockyard up --home {path}: "
              "it brings the database to the newest schema, and images are built again when they are asked for.")
    return 0


def _fill(home: Home, found: archive.Backup) -> None:
    """Write secrets and settings. Raises `Misconfigured` where the home has others."""
    for name, value in found.secrets.items():
        path = home.path / "secret" / name
        if path.exists() and path.read_text().strip() != value:
            raise Misconfigured(f"{path} is another secret than that of the backup: choose another --home, or move it away.")
    for name, value in found.secrets.items():
        _write(home.path / "secret" / name, value.encode())
    if found.settings is not None:
        _write(home.path / "settings.toml", found.settings)
        print(f"The settings of the backup are in {home.path / 'settings.toml'}: start with --config, or look what you want of them.")


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
    part.replace(path)
