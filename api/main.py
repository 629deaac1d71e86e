"""Runs the app under uvicorn: one event loop on uvloop, no access log (tokens travel in queries), streams drained at
the end.
"""

import uvicorn

from api.app import make_app
from api.leaving import Leaving, Server
from services.observe import configure
from services.settings import Settings
from services.settings.exposure import check_exposure


def main(settings: Settings) -> None:
    """Serve until SIGTERM. Raises `Misconfigured`."""
    configure(settings.log, "api")
    check_exposure(settings.front, settings.limits)
    leaving = Leaving(settings.front.leave)
    config = uvicorn.Config(
        make_app(settings, leaving), host=settings.front.host, port=settings.front.port, loop="uvloop", http="httptools", ws="none",
        lifespan="on", access_log=False, log_config=None, server_header=False, date_header=False, proxy_headers=False,
        timeout_graceful_shutdown=max(1, int(settings.leases.drain)), timeout_keep_alive=30, backlog=4096,
        h11_max_incomplete_event_size=64 << 10,
    )
    Server(config, leaving, settings.leases.drain).run()
