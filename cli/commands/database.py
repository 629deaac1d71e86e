"""`dockyard db upgrade`: the schema of the database in the settings, or of the running embedded one."""

from pathlib import Path

from cli.commands import edge
from cli.embedded.account import service_account
from cli.embedded.home import Home, default_path
from cli.embedded.postgres import Postgres
from services.errors import Misconfigured
from services.settings import Settings, load


def upgrade(config: Path | None, flags: dict[str, str]) -> int:
    """Migrate and return the exit status."""
    from services.db import migrate

    with edge.sentences():
        migrate.run(_url(load(config=config, flags=flags)))
    return 0


def _url(settings: Settings) -> str:
    if url := settings.database.url.get_secret_value():
        return url
    path = Path(settings.home.path) if settings.home.path else default_path()
    home = Home(path, (path / "run").resolve(), service_account())
    if not (path / "secret/postgres").exists():
        raise Misconfigured(f"database.url is not set and {path} has no embedded database: run `./dockyard up` first.")
    server = Postgres(path / "pg", home.run / "pg", home.secret("postgres"), home.account)
    if server.status() != "ready":
        raise Misconfigured(f"The embedded database of {path} does not run: `./dockyard up` starts and upgrades it.")
    return server.url()
