"""One watch over all build pods of an installation, for all builds that a worker follows.

The API server sends every change of every build pod down one connection; a worker with fifty builds has one watch and
not fifty. What can go wrong is ordinary: the connection ends (resume from the last version), the version is too old
(410: list anew), the server is away (wait and go on), an event is lost without a trace (so everything is listed anew
once in a while, and an absence is never believed without asking for the pod itself: see `look`).
"""

import asyncio
import contextlib
import random

import structlog

from services.errors import DockyardError
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.errors import Absent, ClusterAway, Expired
from services.runtimes.kubernetes.objects import Object, builds_of, name_of, pods
from services.settings import KubernetesSettings
from services.tasks import end

log = structlog.get_logger()


class PodWatch:
    """What is known of the build pods; starts at the first use."""

    def __init__(self, cluster: Cluster, settings: KubernetesSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._pods: dict[str, Object] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None
        self._from = ""  # the version to go on from; empty: list first

    async def aclose(self) -> None:
        """Stop watching."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    def known(self, name: str) -> Object | None:
        """The pod as it was last seen, or None."""
        return self._pods.get(name)

    def learn(self, pod: Object) -> None:
        """Take a pod that an answer has shown; news unless a newer one is known."""
        name = name_of(pod)
        old = self._pods.get(name)
        if old is None or _version(old) <= _version(pod) or old["metadata"].get("uid") != pod["metadata"].get("uid"):
            self._pods[name] = pod
            self._tell(name)

    async def look(self, name: str) -> Object | None:
        """Ask the API server for the pod itself, as long as it takes; None when there is none."""
        try:
            pod = await self._cluster.patiently(lambda: self._cluster.call("GET", pods(self._cluster.namespace, name)))
        except Absent:
            self._forget(name)
            return None
        self.learn(pod)
        return self._pods[name]

    async def news(self, name: str, seconds: float) -> None:
        """Return when the pod has changed since the last return, or after `seconds`."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        event = self._news.setdefault(name, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        event.clear()

    def leave(self, name: str) -> None:
        """Nobody follows this pod any more."""
        self._news.pop(name, None)

    def _tell(self, name: str) -> None:
        if event := self._news.get(name):
            event.set()

    def _forget(self, name: str) -> None:
        if self._pods.pop(name, None) is not None:
            self._tell(name)

    async def _run(self) -> None:
        pause = 0.5
        while True:
            try:
                if not self._from:
                    self._from = await self._list()
                await self._follow()
                pause = 0.5
                continue
            except Expired:
                log.info("watch_expired")
                self._from = ""
            except ClusterAway as error:
                log.warning("watch_lost", reason=error.sentence)
                pause = max(pause, error.pause or 0.0)
            except DockyardError as error:
                log.error("watch_refused", reason=error.sentence)
                self._from, pause = "", 10.0
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - so that not all workers ask at once
            pause = min(10.0, 2 * pause)

    async def _list(self) -> str:
        found, version = await self._cluster.items(pods(self._cluster.namespace), builds_of(self._settings.instance))
        there = {name_of(pod) for pod in found}
        for pod in found:
            self.learn(pod)
        for name in [name for name in self._pods if name not in there]:
            self._forget(name)
        return version

    async def _follow(self) -> None:
        """Take events from where the last watch ended, until it is time to list everything again."""
        loop = asyncio.get_running_loop()
        listed = loop.time()
        while (left := self._settings.resync - (loop.time() - listed)) > 0:
            began = loop.time()
            events = self._cluster.watch(pods(self._cluster.namespace), builds_of(self._settings.instance), self._from, left)
            async with contextlib.aclosing(events):
                async for event in events:
                    pod: Object = event["object"]
                    self._from = str(pod["metadata"]["resourceVersion"])
                    if event["type"] == "DELETED":
                        self._forget(name_of(pod))
                    elif event["type"] in ("ADDED", "MODIFIED"):
                        self.learn(pod)
            if loop.time() - began < 1.0:  # a server that ends every watch at once must not be asked without pause
                await asyncio.sleep(1.0)
        self._from = ""


def _version(pod: Object) -> int:
    """Versions are opaque by contract and numbers in fact; one that is none counts as the newest."""
    text = str(pod["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 1 << 62
