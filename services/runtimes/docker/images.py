"""Where images are: in a registry, or on the engine alone. *Unknown* is an answer of its own and never starts a build."""

import time
from collections.abc import Mapping
from datetime import datetime

import structlog

from services.errors import Unreachable
from services.registry import Reference, Registry
from services.runtimes.base import Presence
from services.runtimes.content import configuration, platform_manifest, presence
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.layers import Layers
from services.runtimes.docker.order import Recipe

log = structlog.get_logger()
_DAY = 86400.0


class RegistryImages:
    """Images in a registry. A wrong password is raised as `Misconfigured`, in words, and not taken for anything else.

    The engine has copies of those that it has started servers from; they take the room that can be freed.
    """

    def __init__(self, registry: Registry, recipe: Recipe, engine: Engine | None = None) -> None:
        self._registry, self._recipe, self._engine = registry, recipe, engine
        self._layers = Layers(engine) if engine else None

    async def exists(self, image: str) -> Presence:
        """Ask the registry."""
        return await presence(self._registry, image)

    async def environment_exists(self, key: str) -> bool:
        """Whether there is an environment of this key that is not too old. `Unreachable` where nobody knows."""
        image = Reference.parse(f"{self._recipe.environments}:{key}")
        manifest = await platform_manifest(self._registry, image)
        config = await configuration(self._registry, image.repository, manifest) if manifest else None
        if config is None:
            return False
        created = config.get("created") or "1970-01-01"
        try:
            age = time.time() - datetime.fromisoformat(created[:19] + "+00:00").timestamp()
        except ValueError:
            return False
        return age < self._recipe.builds.environment_days * _DAY

    async def remove(self, image: str) -> None:
        """Forget an image."""
        await self._registry.delete(Reference.parse(image))

    async def remove_environment(self, key: str) -> None:
        """Forget an environment; images that were made from it have its layers as their own."""
        if self._recipe.environments:
            await self._registry.delete(Reference.parse(f"{self._recipe.environments}:{key}"))

    async def usage(self) -> int:
        """Bytes of all layers on the engine; a registry does not say."""
        return await self._layers.size() if self._layers else 0

    async def kept(self) -> Mapping[str, float] | None:
        """The engine's copies."""
        return await _tags(self._engine) if self._engine else None

    async def free(self, image: str) -> None:
        """Remove the engine's copy; the registry has it still."""
        if self._engine:
            await self._engine.remove_image(image)

    async def collect(self, *, caches: bool) -> None:
        """The engine counts what images share, and lets go of it by itself."""


class EngineImages:
    """Images on the engine alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._layers = Layers(engine)

    async def exists(self, image: str) -> Presence:
        """Ask the engine."""
        try:
            return Presence.NO if await self._engine.image(image) is None else Presence.YES
        except Unreachable as error:
            log.warning("engine_unknown", image=image, reason=error.sentence)
            return Presence.UNKNOWN

    async def environment_exists(self, key: str) -> bool:
        """Content layers need a registry, so nobody asks."""
        return False

    async def remove(self, image: str) -> None:
        """Forget an image that no container uses."""
        await self._engine.remove_image(image)

    async def remove_environment(self, key: str) -> None:
        """There is none."""

    async def usage(self) -> int:
        """Bytes of all layers on the engine."""
        return await self._layers.size()

    async def kept(self) -> Mapping[str, float] | None:
        """All images with a name."""
        return await _tags(self._engine)

    async def free(self, image: str) -> None:
        """Forget an image that no container uses: there is no other copy."""
        await self._engine.remove_image(image)

    async def collect(self, *, caches: bool) -> None:
        """The engine counts what images share, and lets go of it by itself."""


async def _tags(engine: Engine) -> Mapping[str, float]:
    return {tag: 0.0 for image in await engine.listed("images") for tag in image.get("RepoTags") or ()}
