"""The user servers that really run, as the reaper asks; the hub has its own opinion."""

import asyncio

from services.runtimes.local.servers import Servers


class LocalSpawning:
    """`Spawning` of the runtime `local`: the directories of the servers tell it, whoever started them."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def running(self) -> list[str]:
        """The hub's user names of the servers that run."""
        return await asyncio.to_thread(self._servers.running)

    async def remove(self, name: str) -> None:
        """End a server that the hub no longer knows, and remove its files."""
        await asyncio.to_thread(self._servers.remove, name)
