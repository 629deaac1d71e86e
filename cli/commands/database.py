"""`dockyard db upgrade` and `dockyard migrate`: the schema of the database in the settings, or of the running embedded one."""

import asyncio
import time
from pathlib import Path

from pydantic import SecretStr

from cli.commands import edge
from cli.embedded.account import service_account
from cli.embedded.home import Home, default_path
from cli.embedded.postgres import Postgres
from services.errors import Misconfigured
from services.settings import DatabaseSettings, Settings, load


def upgrade(config: Path | None, flags: dict[str, str]) -> int:
    """Migrate and return the exit status."""
    from services.db import migrate

    with edge.sentences():
        migrate.run(_url(load(config=config, flags=flags)))
    return 0


def migrate(phase: str, wait: float, config: Path | None, flags: dict[str, str]) -> int:
    """Run the migrations of a phase, and say which they were; the exit status."""
    from services.db.migrate import Phase
    from services.db.migrate import upgrade as run

    with edge.sentences():
        if phase not in list(Phase):
            raise Misconfigured("--phase is before, after or all.")
        settings = load(config=config, flags=flags)
        url = _url(settings)

        async def work() -> list[str]:
            if phase == Phase.AFTER:
                await _alone(settings.database.model_copy(update={"url": SecretStr(url), "pool": 1}), wait)
            return await run(url, phase=Phase(phase))

        made = asyncio.run(work())
        print(f"Migrated to {made[-1]}." if made else "Nothing to do: the schema is as new as this phase makes it.")
    return 0


async def _alone(settings: DatabaseSettings, wait: float) -> None:
    """Wait for the end of older processes. Raises `Misconfigured` where they do not go."""
    from services.db import Database
    from services.db.schema import older

    db, deadline = Database(settings), time.monotonic() + wait
    try:
        while found := await older(db):
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"{len(found)} processes of older code run, or ran a minute ago ({', '.join(found)[:300]}): "
                    "stop them first, or --wait for them.")
            await asyncio.sleep(1)
    finally:
        await db.aclose()


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
