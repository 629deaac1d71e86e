"""Images in a registry, as every node pulls them."""

from services.registry import Reference, Registry
from services.runtimes.base import Presence
from services.runtimes.content import presence


class RegistryImages:
    """`ImageStore` of the runtime `kubernetes`."""

    def __init__(self, registry: Registry, environments: str) -> None:
        """`environments` is the repository of the environments that content is laid over."""
        self._registry, self._environments = registry, environments

    async def aclose(self) -> None:
        """Close all connections."""
        await self._registry.aclose()

    async def exists(self, image: str) -> Presence:
        """Whether a node could pull it."""
        return await presence(self._registry, image)

    async def environment_exists(self, key: str) -> bool:
        """Nobody asks: the pod of a build looks for itself."""
        return False

    async def remove(self, image: str) -> None:
        """Delete the image's manifest; the registry's own collection frees the space."""
        await self._registry.delete(Reference.parse(image))

    async def remove_environment(self, key: str) -> None:
        """Delete an environment; images that were made from it have its layers as their own."""
        await self._registry.delete(Reference.parse(f"{self._environments}:{key}"))

    async def usage(self) -> int:
        """Unknown: the distribution API does not tell."""
        return 0

    async def kept(self) -> None:
        """What nodes have pulled, the kubelet collects."""

    async def free(self, image: str) -> None:
        """Nothing here takes room."""

    async def collect(self, *, caches: bool) -> None:
        """Nothing is shared here."""
