"""The user servers that really run, as the reaper asks; DockerSpawner labels them with the hub's user names."""

from services.runtimes.docker.engine import Engine
from services.runtimes.docker.order import SERVER, Recipe


def container(user: str) -> str:
    """The name of a user's server."""
    return f"dockyard-server-{user}"


class DockerSpawning:
    """`Spawning` of the runtime `docker`."""

    def __init__(self, engine: Engine, recipe: Recipe) -> None:
        self._engine, self._recipe = engine, recipe

    async def running(self) -> list[str]:
        """The hub's user names of all server containers, ended ones too."""
        return sorted(found[SERVER] for found in await self._engine.names(SERVER, self._recipe.ours))

    async def remove(self, name: str) -> None:
        """End a server that the hub no longer knows."""
        await self._engine.remove(container(name))
