"""configurable-http-proxy, started by somebody else, with its routes given back as soon as it comes back.

The proxy keeps its routes in memory. JupyterHub compares them with its servers only every `last_activity_interval`, so
after a crash of the proxy running servers would be unreachable for half a minute. A new proxy makes a new socket for its
API, and a look at that costs nothing; where its API is in a network, a connection that is kept to it ends with it.

In a network something else may answer at its address for a moment: a cluster that has just got its rules back sends packets
past itself. The proxy has no 404 for what it is told or asked as a whole, so this one is somebody else's, and asked again.
"""

import asyncio
import contextlib
import os
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from jupyterhub.proxy import ConfigurableHTTPProxy

LOOK = 0.5  # seconds
_PATIENCE = 30.0  # seconds, as long as JupyterHub itself tries where the proxy does not answer


class WatchedProxy(ConfigurableHTTPProxy):  # type: ignore[misc]  # JupyterHub has no types
    """A proxy that others start; gives it its routes again when it was started anew."""

    _watch: asyncio.Task[None] | None = None

    async def get_all_routes(self) -> Any:
        """The routes; the hub asks for them first when it starts, and the watch begins then."""
        if self._watch is None:
            local = self.api_url.startswith("http+unix:")
            self._watch = asyncio.create_task(self._look() if local else self._hold())
        return await super().get_all_routes()

    async def api_request(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """An answer of the proxy's API."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        while True:
            try:
                return await super().api_request(path, method, body)
            except aiohttp.ClientResponseError as error:
                theirs = error.status == 404 and (method == "POST" or (method == "GET" and not path))
                if not theirs or loop.time() >= deadline:
                    raise
                self.log.warning("Something else than the proxy answers at its address; asking again")
            await asyncio.sleep(LOOK)

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
            if found is not None and found != known and await self._give():
                known = found

    async def _hold(self) -> None:
        """Keep a connection on which nothing is said. The proxy ends it each minute, too; then the routes are compared for nothing."""
        address, given = urlsplit(self.api_url), True
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(address.hostname, address.port)
                given = given or await self._give()
                while given and await reader.read(1024):
                    pass
                given = False
                writer.close()
            await asyncio.sleep(LOOK)

    async def _give(self) -> bool:
        """Bring the routes in order; whether that went well."""
        try:
            await self.check_routes(self.app.users, self.app._service_map)
        except Exception:  # noqa: BLE001  # the edge of a task: JupyterHub has its own errors for a proxy that is away
            self.log.warning("The new proxy does not take its routes yet")
            return False
        return True
