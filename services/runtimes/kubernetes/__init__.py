"""The runtime `kubernetes`: builds as pods, servers by KubeSpawner, images in a registry.

This package alone speaks to a cluster's API; of the official client only `client` knows.
"""

from services.errors import Misconfigured
from services.registry import Registry
from services.runtimes.kubernetes.builder import PodBuilder
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.images import RegistryImages
from services.runtimes.kubernetes.reality import PodReality
from services.runtimes.kubernetes.spawning import PodSpawning
from services.runtimes.kubernetes.telling import Telling
from services.settings import Settings


class KubernetesRuntime:
    """The four protocols on one cluster."""

    name = "kubernetes"

    def __init__(self, settings: Settings) -> None:
        if not settings.registry.url:
            raise Misconfigured("Setting registry.url: the runtime kubernetes needs a registry, which the nodes pull images from.")
        cluster = Cluster(settings.kubernetes)
        registry = Registry(settings.registry)
        telling = Telling(settings)
        self.builder = PodBuilder(cluster, telling, settings.kubernetes, settings.builds, registry)
        self.images = RegistryImages(registry, telling.environments)
        self.spawning = PodSpawning(cluster, settings.kubernetes)
        self.reality = PodReality(cluster, settings.kubernetes)

    async def aclose(self) -> None:
        """Close all connections; what runs goes on."""
        await self.builder.aclose()
        await self.images.aclose()


def make(settings: Settings) -> KubernetesRuntime:
    """The runtime for these settings. Raises `Misconfigured`."""
    return KubernetesRuntime(settings)
