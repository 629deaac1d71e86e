"""What an installation has to offer to be broken and looked at: `site.Site` and `tree.Tree` do."""

from collections import Counter
from pathlib import Path
from signal import Signals
from typing import Any, Protocol

from services.settings import Settings
from tests.faults.proxy import Proxy
from tests.faults.reality import Reality


class Place(Protocol):
    """One installation. Names are those of its processes."""

    parts: tuple[str, ...]  # ours: they end when they are told to
    others: tuple[str, ...]  # hub, its proxy and the like
    servers: tuple[str, ...]  # postgres and valkey
    proxies: dict[str, Proxy]  # before servers and hub
    direct: Settings  # past the proxies
    ended: Counter[str]  # parts that ended without being told to
    reality: Reality
    port: int  # of the front door
    directory: Path  # for logs
    disk: Path | None  # a file system of its own, which may be filled
    troubles: tuple[type[Exception], ...]  # what `hub_users` and `hub_routes` raise where the hub is away

    def alive(self, name: str) -> bool:
        """Whether a process runs and is not about to be started."""

    def pids(self, name: str) -> list[int]:
        """Its processes, the one that leads them first; empty where it does not run."""

    async def end(self, name: str, number: Signals) -> None:
        """Send a signal that ends it, and return when it has ended."""

    async def revive(self, name: str) -> None:
        """Start it again, where nobody else does."""

    async def query(self, statement: str, **parameters: Any) -> list[Any]:
        """Rows, past the proxies."""

    async def hub_users(self) -> dict[str, Any]:
        """The hub's users with their servers, past the proxy."""

    async def hub_routes(self) -> list[str]:
        """Paths of the routes of the hub's own proxy."""

    def logs(self) -> str:
        """The last lines of all processes."""
