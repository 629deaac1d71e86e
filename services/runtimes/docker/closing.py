"""Waits until it is told to stop; if all that starts containers has stopped by then, removes what they have left behind.

`docker compose down` knows the services of its file, not the builds and user servers that those have started. Whatever starts
any depends on this process, so compose stops it last: `python -m services.runtimes.docker.closing hub worker …` with the names
of those services. Where one of them still runs, only this process is being restarted, and nothing happens.
"""

import asyncio
import signal
import sys

import structlog

import services.settings
from services.errors import DockyardError
from services.observe import logs
from services.runtimes.docker import end_everything
from services.runtimes.docker.engine import Engine
from services.settings import Settings

log = structlog.get_logger()
_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"


async def still_running(settings: Settings, starters: list[str]) -> list[str]:
    """Those of these services of our project (the installation has its name) that run."""
    engine = Engine(settings.docker.host)
    try:
        found = await engine.names(f"{_PROJECT}={settings.docker.installation}", running=True)
    finally:
        await engine.aclose()
    return sorted({labels.get(_SERVICE, "") for labels in found} & set(starters))


async def close(settings: Settings, starters: list[str]) -> None:
    """Remove all builds and servers, unless somebody is there who looks after them."""
    if left := await still_running(settings, starters):
        log.info("closing_left", running=left)
        return
    await end_everything(settings)
    log.info("closing_done")


async def main(starters: list[str]) -> int:
    """Wait for TERM or INT, then close; the exit status."""
    settings = services.settings.load()
    logs.configure(settings.log, "closer")
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()
    try:
        await close(settings, starters)
    except DockyardError as error:
        log.error("closing_failed", reason=error.sentence)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
