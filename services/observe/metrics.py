"""The numbers of one process, for Prometheus: its registry, and a small listener that shows it.

Everything a process counts itself starts at 0 with it, as Prometheus expects. What must outlive processes (outcomes) is counted
in the database and told by the api. The listener speaks as much HTTP as a scraper needs and knows one address. It has a port of its
own, or a unix socket named after the process where one machine runs everything; the api passes those on. """

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from services.errors import Misconfigured
from services.settings import ObserveSettings

log = structlog.get_logger()
_REQUEST = 8192  # bytes
_PATIENCE = 5.0  # seconds for a request
_TICK = 1.0


def new_registry() -> CollectorRegistry:
    """A registry with what every process has: memory, CPU, collections."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class Metrics:
    """One process's registry, shown at `observe.metrics_address` by `serve`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.registry = new_registry()
        # Hooks that bring numbers up to date before they are shown.
        self.before: list[Callable[[], Awaitable[None]]] = []
        self._lag = Gauge(
            "dockyard_event_loop_lag_seconds", "The longest that the event loop kept somebody waiting since it was last asked",
            registry=self.registry)
        self._worst = 0.0

    async def refresh(self) -> None:
        """Bring everything up to date; call it before the registry is read."""
        for hook in self.before:
            await hook()
        self._lag.set(self._worst)
        self._worst = 0.0

    async def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        await self.refresh()
        return generate_latest(self.registry)

    async def serve(self, settings: ObserveSettings) -> None:
        """Answer scrapers for as long as the process lives. Raises `Misconfigured` where the address cannot be had."""
        server = await self._listen(settings.metrics_address) if settings.metrics_address else None
        try:
            while True:
                began = time.monotonic()
                await asyncio.sleep(_TICK)
                self._worst = max(self._worst, time.monotonic() - began - _TICK)
        finally:
            if server is not None:
                server.close()

    async def _listen(self, address: str) -> asyncio.Server:
        try:
            if address.startswith("unix:"):
                return await self._socket(Path(address.removeprefix("unix:")) / f"{self.name}.sock")
            host, _, port = address.rpartition(":")
            return await asyncio.start_server(self._answer, host.strip("[]"), int(port), limit=_REQUEST)
        except OSError as error:
            raise Misconfigured(f"Setting observe.metrics_address: {address} cannot be listened on ({error.strerror}).") from error

    async def _socket(self, path: Path) -> asyncio.Server:
        clear(path)
        server = await asyncio.start_unix_server(self._answer, str(path), limit=_REQUEST)
        open_to_all(path)
        return server

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, *_ = [*head.split(b"\r\n", 1)[0].split(b" "), b"", b""]
                if method == b"GET" and path.split(b"?", 1)[0] == b"/metrics":
                    body, status = await self.text(), b"200 OK"
                else:
                    body, status = b"This port has /metrics only.\n", b"404 Not Found"
                writer.write(
                    b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
                    % (status, CONTENT_TYPE_PLAIN_0_0_4.encode(), len(body)) + body)
                await writer.drain()
        writer.close()


def clear(path: Path) -> None:
    """Remove the socket that an earlier process has left."""
    path.unlink(missing_ok=True)


def open_to_all(path: Path) -> None:
    """Let everybody connect who may enter the directory, such as the api, which may be another user."""
    path.chmod(0o666)


async def scrape(path: Path) -> bytes | None:
    """What a process shows at its socket; None where nobody answers."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
                return body if head.startswith(b"HTTP/1.1 200") else None
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
