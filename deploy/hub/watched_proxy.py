"""configurable-http-proxy, started by our supervisor, with its routes given back as soon as it comes back.

The proxy keeps its routes in memory. JupyterHub compares them with its servers only every `last_activity_interval`, so
after a crash of the proxy running servers would be unreachable for half a minute. A new proxy makes a new socket for its
API, and a look at that costs nothing.
"""

import asyncio
import os
from typing import Any
from urllib.parse import unquote

from jupyterhub.proxy import ConfigurableHTTPProxy

LOOK = 0.5  # seconds


class WatchedProxy(ConfigurableHTTPProxy):  # type: ignore[misc]  # JupyterHub has no types
    """A proxy that others start; gives it its routes again when it was started anew."""

    _watch: asyncio.Task[None] | None = None

    async def get_all_routes(self) -> Any:
        """The routes; the hub asks for them first when it starts, and the watch begins then."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())
        return await super().get_all_routes()

    def _socket(self) -> tuple[int, int] | None:
        try:
            found = os.stat(unquote(self.api_url.partition("://")[2]))
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns

    async def _look(self) -> None:
        known = self._socket()
        while True:
            await asyncio.sleep(LOOK)
            found = self._socket()
            if found is None or found == known:
                continue
            try:
                await self.check_routes(self.app.users, self.app._service_map)
                known = found
            except Exception:  # noqa: BLE001  # the edge of a task: JupyterHub has its own errors for a proxy that is away
                self.log.warning("The new proxy does not take its routes yet")
