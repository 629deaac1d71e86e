"""The runtime `docker`: repo2docker in build containers, images in a registry, servers by DockerSpawner.

    engine      the only module that imports `docker`, with answers, which turns its errors into ours
    containers  what a container is made from, and what the engine says of one
    streams     streams of a blocking client
    order       from a job to a container
    watch       the limits that the kernel does not bind
    builder     the protocol `Builder`
    content     an image from an environment and one layer of content
    pushing     from the build container to the registry
    wall        networks, and what may not be reached from them
    bases       base images that contained builds share
    images      the protocol `ImageStore`
    layers      how much room images take
    spawning    the protocol `Spawning`
    reality     the protocol `Reality`
    closing     the end of all of it, for docker compose

What runs inside of the build container is in deploy/build.
"""

import asyncio

from services.egress.logins import Logins
from services.registry import Registry
from services.runtimes.docker.bases import Bases
from services.runtimes.docker.builder import DockerBuilder
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.images import EngineImages, RegistryImages
from services.runtimes.docker.order import Recipe
from services.runtimes.docker.reality import DockerReality
from services.runtimes.docker.spawning import DockerSpawning
from services.runtimes.docker.wall import Wall
from services.settings import EgressSettings, Settings


class DockerRuntime:
    """The four protocols on one engine."""

    name = "docker"

    def __init__(self, recipe: Recipe, egress: EgressSettings) -> None:
        self.engine = Engine(recipe.docker.host)
        self.registry = Registry(recipe.registry) if recipe.pushes else None
        self.bases = Bases(self.engine, recipe)
        self.wall = Wall(self.engine, recipe.docker, egress)
        self.builder = DockerBuilder(self.engine, self.registry, recipe, self.bases, self.wall)
        self.images = RegistryImages(self.registry, recipe, self.engine) if self.registry else EngineImages(self.engine)
        self.spawning = DockerSpawning(self.engine, recipe)
        self.reality = DockerReality(self.engine, recipe)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.engine.aclose()
        if self.registry:
            await self.registry.aclose()


async def end_everything(settings: Settings) -> None:
    """Remove every build and server of this installation; for whoever stops all of it, once nothing can start another.

    Volumes of base images stay, the containers that have filled them do not.
    """
    runtime = make(settings)
    try:
        handles, users = await runtime.builder.running(), await runtime.spawning.running()
        # All at once: whoever stops us may give us few seconds.
        done = await asyncio.gather(
            *map(runtime.builder.remove, handles), *map(runtime.spawning.remove, users), return_exceptions=True)
        await runtime.bases.let_go()
        await runtime.wall.let_go()
        for error in done:
            if error is not None:
                raise error
    finally:
        await runtime.aclose()


def make(settings: Settings) -> DockerRuntime:
    """The runtime that these settings describe."""
    return DockerRuntime(Recipe(settings.docker, settings.builds, settings.registry, Logins(settings.providers)), settings.egress)
