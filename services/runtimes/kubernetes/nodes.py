"""The nodes that builds may run on, for the choice of a repository's own one.

Read at most once a minute. Where our account may not list nodes, builds run wherever there is room: the choice saves
time and nothing depends on it. With a daemon on each node (`dind`, `pink`) the nodes are those where one runs.
"""

import asyncio

import structlog

from services.errors import DockyardError
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.objects import COMPONENT, INSTANCE, Object, pods
from services.settings import KubernetesSettings

log = structlog.get_logger()
_FRESH = 60.0  # seconds


class Nodes:
    """The names of the nodes that can build now."""

    def __init__(self, cluster: Cluster, settings: KubernetesSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._names: list[str] = []
        self._until = 0.0
        self._warned = False

    async def names(self) -> list[str]:
        """The names, sorted; empty where builds are not to stick to nodes."""
        if not self._settings.sticky or self._settings.affinity:
            return []
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            self._until = now + _FRESH
            try:
                self._names = await self._read()
            except DockyardError as error:
                if not self._warned:
                    self._warned = True
                    log.warning("nodes_unknown", reason=error.sentence)
        return self._names

    async def _read(self) -> list[str]:
        settings = self._settings
        if settings.builder in ("dind", "pink"):
            found, _ = await self._cluster.items(pods(self._cluster.namespace), f"{COMPONENT}=builder,{INSTANCE}={settings.instance}")
            return sorted({str(pod["spec"]["nodeName"]) for pod in found if pod["spec"].get("nodeName")})
        wanted = ",".join(f"{key}={value}" for key, value in settings.node_selector.items())
        found, _ = await self._cluster.items("/api/v1/nodes", wanted)
        return sorted(_hostname(node) for node in found if _open(node))


def _hostname(node: Object) -> str:
    labels = node["metadata"].get("labels") or {}
    return str(labels.get("kubernetes.io/hostname") or node["metadata"]["name"])


def _open(node: Object) -> bool:
    """Whether new pods may come: ready and not cordoned."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and not (node.get("spec") or {}).get("unschedulable")
