"""What there really is of builds and servers in a cluster: pods, by the labels we have put on them."""

import contextlib
from datetime import datetime

from services.runtimes.base import Thing
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.errors import Absent
from services.runtimes.kubernetes.objects import Object, builds_of, name_of, pods, servers_of
from services.runtimes.kubernetes.spawning import user_of
from services.settings import KubernetesSettings


class PodReality:
    """`Reality` of the runtime `kubernetes`."""

    def __init__(self, cluster: Cluster, settings: KubernetesSettings) -> None:
        self._cluster, self._settings = cluster, settings

    async def things(self) -> list[Thing]:
        """All pods of builds and servers, ended ones too, but for those that are being deleted."""
        builds, _ = await self._cluster.items(pods(self._cluster.namespace), builds_of(self._settings.instance))
        servers, _ = await self._cluster.items(
            pods(self._cluster.users), self._settings.server_selector or servers_of(self._settings.instance))
        return [
            *(Thing("build", name_of(pod), name_of(pod), _since(pod)) for pod in builds if not _goes(pod)),
            *(Thing("server", name_of(pod), user_of(pod), _since(pod), certain=not self._settings.server_selector)
              for pod in servers if not _goes(pod) and user_of(pod)),
        ]

    async def clear(self, thing: Thing) -> None:
        """Delete a pod; what is left of it ends by itself."""
        namespace = self._cluster.namespace if thing.kind == "build" else self._cluster.users
        with contextlib.suppress(Absent):
            await self._cluster.call("DELETE", pods(namespace, thing.name))


def _goes(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _since(pod: Object) -> float:
    text = str(pod["metadata"].get("creationTimestamp") or "")
    return datetime.fromisoformat(text).timestamp() if text else 0.0
