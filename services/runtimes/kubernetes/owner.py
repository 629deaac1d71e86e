"""Whom a build pod belongs to: an object of the release, so that the cluster removes both together.

Whoever uninstalls takes the worker and the reaper away first, and nobody would be left to remove what still builds. The chart
makes a ConfigMap for this in each namespace (`kubernetes.owner`), and the cluster's own collection of garbage does the rest.
Asked for at each pod: an object that was made anew under its old name has another uid, and pods that name the old one are removed
at once. Where there is none, or we may not read it, pods belong to nobody.
"""

import structlog

from services.errors import DockyardError
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.errors import Absent, ClusterRefused
from services.runtimes.kubernetes.objects import Object, configmap

log = structlog.get_logger()


class Owner:
    """The ConfigMap of this name in the builds' namespace."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._warned = False

    async def references(self) -> list[Object]:
        """The `ownerReferences` of a pod. Raises `ClusterAway`."""
        if not self._name:
            return []
        try:
            found = await self._cluster.call("GET", configmap(self._cluster.namespace, self._name))
        except (Absent, ClusterRefused) as error:
            self._warn(error)
            return []
        return [{"apiVersion": "v1", "kind": "ConfigMap", "name": self._name, "uid": found["metadata"]["uid"]}]

    def _warn(self, error: DockyardError) -> None:
        if not self._warned:
            self._warned = True
            log.warning("owner_unknown", reason=error.sentence)
