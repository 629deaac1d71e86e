"""The user servers that really run, as the reaper asks; the hub's KubeSpawner has its own opinion."""

import contextlib

from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.errors import Absent
from services.runtimes.kubernetes.objects import Object, name_of, pods, servers_of
from services.settings import KubernetesSettings

# Where KubeSpawner writes the user's name as it is; the label of the same name holds it escaped.
_USER = "hub.jupyter.org/username"


class PodSpawning:
    """`Spawning` of the runtime `kubernetes`."""

    def __init__(self, cluster: Cluster, settings: KubernetesSettings) -> None:
        self._cluster = cluster
        self._selector = settings.server_selector or servers_of(settings.instance)

    async def running(self) -> list[str]:
        """The hub's user names of the servers' pods."""
        return sorted({user for pod in await self._pods() if (user := user_of(pod))})

    async def remove(self, name: str) -> None:
        """Delete the pods of a user that the hub no longer knows."""
        for pod in await self._pods():
            if user_of(pod) == name:
                with contextlib.suppress(Absent):
                    await self._cluster.call("DELETE", pods(self._cluster.users, name_of(pod)))

    async def _pods(self) -> list[Object]:
        found, _ = await self._cluster.items(pods(self._cluster.users), self._selector)
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def user_of(pod: Object) -> str:
    """The hub's user name of a server's pod, or an empty text."""
    return str((pod["metadata"].get("annotations") or {}).get(_USER, ""))
