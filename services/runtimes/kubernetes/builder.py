"""Builds as pods: made once, found again by name, followed by watch and log, removed.

What the follower does at any moment follows from the pod alone, so a worker that takes a build over, or one whose API
server was away, begins at the same place. What a pod waits for is told to the user when it is seen, and bounded: a node
with room by `kubernetes.schedule`, its image by `kubernetes.pull`. A pod that vanishes is the cluster's fault, and the
build gets a new attempt, hence a new pod with another name.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import structlog

from services.errors import DockyardError
from services.registry import Reference, Registry
from services.runtimes import content
from services.runtimes.base import BuildItem, BuildJob, Exit, Lines, LogLine, Phase
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.errors import Absent, ClusterAway, ClusterRefused, Taken
from services.runtimes.kubernetes.logs import PHASES, Position, read
from services.runtimes.kubernetes.manifest import manifest, secret
from services.runtimes.kubernetes.nodes import Nodes
from services.runtimes.kubernetes.objects import BUILD, INSTANCE, Object, builds_of, labels_of, name_of, pods, secrets
from services.runtimes.kubernetes.owner import Owner
from services.runtimes.kubernetes.pods import GONE, Goes, Runs, Waits, state
from services.runtimes.kubernetes.telling import Telling
from services.runtimes.kubernetes.watch import PodWatch
from services.settings import BuildSettings, KubernetesSettings

log = structlog.get_logger()
_STOPPING = 120.0  # seconds until a pod that does not end is forgotten by force: its node may be gone for ever
_QUOTA = 5.0  # seconds at most between two attempts to get a pod past a used-up quota
_SLOW = Exit(ok=False, reason="The cluster did not start the pod of this build in time.", retryable=True)
_HINT = "This is a fault of the installation, not of the repository: tell its administrator."


class PodBuilder:
    """`Builder` of the runtime `kubernetes`."""

    def __init__(
        self, cluster: Cluster, telling: Telling, settings: KubernetesSettings, builds: BuildSettings, registry: Registry | None = None,
    ) -> None:
        """`registry`: where images are put together; None where no build leaves a layer."""
        self._cluster = cluster
        self._telling = telling
        self._settings = settings
        self._builds = builds
        self._registry = registry
        self._nodes = Nodes(cluster, settings)
        self._owner = Owner(cluster, settings.owner)
        self._watch = PodWatch(cluster, settings)
        self._made: set[str] = set()  # handles whose pod this process has just made
        self._refused: dict[str, DockyardError] = {}  # handles that the cluster did not take, for `follow` to tell

    async def aclose(self) -> None:
        """Stop watching; pods go on."""
        await self._watch.aclose()
        await self._cluster.aclose()

    async def prepare(self) -> None:
        """Nothing is made in advance."""

    async def start(self, job: BuildJob) -> None:
        """Make the pod, or find it. What the cluster refuses, `follow` tells."""
        try:
            await self._cluster.patiently(lambda: self._make(job))
        except DockyardError as error:
            self._refused[job.handle] = error

    async def _make(self, job: BuildJob) -> None:
        logins = self._telling.logins(job)
        pod = manifest(
            job, self._telling.environment(job), self._settings, namespace=self._cluster.namespace, seconds=self._builds.timeout,
            nodes=await self._nodes.names(), private=bool(logins), owners=await self._owner.references(),
        )
        try:
            made = await self._cluster.call("POST", pods(self._cluster.namespace), body=pod)
        except Taken:
            found = await self._watch.look(job.handle)
            if found is not None and (labels_of(found).get(BUILD), labels_of(found).get(INSTANCE)) != (job.id, self._settings.instance):
                raise
            log.info("pod_adopted", pod=job.handle)
            if found is not None and logins:
                await self._let_in(job, logins, found)
            return
        self._made.add(job.handle)
        self._watch.learn(made)
        if logins:
            await self._let_in(job, logins, made)

    async def _let_in(self, job: BuildJob, logins: str, pod: Object) -> None:
        """Give the pod, which waits for it, what it fetches private repositories with."""
        with contextlib.suppress(Taken):
            namespace = self._cluster.namespace
            await self._cluster.call("POST", secrets(namespace), body=secret(job, logins, namespace, pod))

    async def follow(self, job: BuildJob, line: int) -> AsyncIterator[BuildItem]:
        """Yield what happens from line `line` on, until `Exit`."""
        try:
            following = self._follow(job, Position(line))
            async with contextlib.aclosing(following):
                async for item in following:
                    yield item
        except ClusterAway as error:
            yield Exit(ok=False, reason=error.sentence, retryable=True)
        except DockyardError as error:
            yield Exit(ok=False, reason=error.sentence, hint=_HINT)
        finally:
            self._made.discard(job.handle)
            self._refused.pop(job.handle, None)
            self._watch.leave(job.handle)

    async def _follow(self, job: BuildJob, at: Position) -> AsyncGenerator[BuildItem, None]:
        async for notice in self._admitted(job):
            yield _notice(at, notice)
        if at.line > 1 and job.handle in self._made:
            yield GONE  # its log would begin again at line 1 where another pod's had gone further
            return
        loop = asyncio.get_running_loop()
        told, since = "", loop.time()
        while True:
            pod = self._watch.known(job.handle) or await self._watch.look(job.handle)
            if pod is None:
                yield GONE
                return
            match state(pod, self._settings.memory_limit, self._builds.timeout):
                case Exit() as end:
                    async for item in self._rest(job, at):
                        yield item
                    yield await self._put_together(job, end) if end.ok and "layer" in end.facts else _worded(end, at)
                    return
                case Goes():
                    yield GONE
                    return
                case Runs():
                    running = self._running(job, at)
                    async with contextlib.aclosing(running):
                        async for item in running:
                            yield item
                            if isinstance(item, Exit):
                                return
                case Waits(kind, why, hint):
                    if kind != told:
                        told, since = kind, loop.time()
                        if why:
                            yield _notice(at, why)
                    left = self._most(kind) - (loop.time() - since)
                    if left <= 0:
                        yield Exit(ok=False, reason=why, hint=hint) if why else _SLOW
                        return
                    await self._watch.news(job.handle, min(left, 30.0))

    async def _put_together(self, job: BuildJob, end: Exit) -> Exit:
        """The image of an environment and a layer that the pod has left in the registry."""
        try:
            told = json.loads(end.facts["layer"])
            layer = content.ContentLayer(str(told["digest"]), str(told["diff_id"]), int(told["size"]), int(told["time"]))
            environment = Reference.parse(f"{self._telling.environments}:{end.facts['environment']}")
        except (KeyError, ValueError, TypeError):
            return Exit(ok=False, reason="The build has left a layer that cannot be read.", hint=_HINT)
        if (registry := self._registry) is None:
            return Exit(ok=False, reason="There is no registry to put the image together in.", hint=_HINT)

        async def bring() -> Exit:
            await content.put_together(registry, job, environment, layer)
            return Exit(ok=True, facts={"environment": end.facts["environment"], "layered": "yes"})

        return await content.kept(job, bring)

    def _most(self, kind: str) -> float:
        """Seconds that a pod may wait for this."""
        most = {"schedule": self._settings.schedule, "image": self._settings.pull, "pod": self._settings.pull}
        return most.get(kind, self._settings.schedule + self._settings.pull)

    async def _admitted(self, job: BuildJob) -> AsyncGenerator[str, None]:
        """Return when the cluster has taken the pod; wait for a quota. Raises what it refused."""
        loop = asyncio.get_running_loop()
        deadline, told, pause = loop.time() + self._settings.schedule, False, 0.25
        while error := self._refused.pop(job.handle, None):
            if not (isinstance(error, ClusterRefused) and error.quota) or loop.time() >= deadline:
                raise error
            if not told:
                told = True
                yield "The quota of builds is used up at the moment; waiting for others to end."
            await asyncio.sleep(min(pause, max(0.1, deadline - loop.time())))
            pause = min(_QUOTA, 2 * pause)
            await self.start(job)

    async def _running(self, job: BuildJob, at: Position) -> AsyncGenerator[BuildItem, None]:
        """Follow the log as long as the container runs; ends when the log does, for `_follow` to look at the pod."""
        batches = read(self._cluster, job.handle, at, follow=True)
        idle, last = self._settings.idle, asyncio.get_running_loop().time()
        waiting: asyncio.Future[list[LogLine]] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(anext(batches))
                await asyncio.wait({waiting}, timeout=1.0)
                now = asyncio.get_running_loop().time()
                if waiting.done():
                    try:
                        lines = waiting.result()
                    except (StopAsyncIteration, ClusterAway, Absent):
                        break
                    finally:
                        waiting = None
                    last = now
                    for item in _told(at, lines):
                        yield item
                elif idle and now - last > idle:
                    await self.stop(job)
                    yield Exit(ok=False, reason=f"The build was stopped because it has written nothing for {idle:.0f} seconds.",
                               hint="A step that takes long should show that it goes on.")
                    return
                elif not self._runs(job):
                    break
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await batches.aclose()
        # The log ends a moment before the pod says so; a connection that was cut looks the same.
        await self._watch.news(job.handle, 1.0)

    def _runs(self, job: BuildJob) -> bool:
        pod = self._watch.known(job.handle)
        return pod is not None and isinstance(state(pod), Runs)

    async def _rest(self, job: BuildJob, at: Position) -> AsyncGenerator[BuildItem, None]:
        """What the log of an ended pod holds beyond `at`."""
        async def whole() -> list[LogLine]:
            mine.line, mine.phase, mine.reason = at.line, at.phase, replace(at.reason)  # one that breaks off has taken nothing
            return [line async for lines in read(self._cluster, job.handle, mine, follow=False) for line in lines]

        mine = Position(at.line)
        try:
            lines = await self._cluster.patiently(whole)
        except DockyardError as error:  # the node is gone, and the log with it
            log.info("log_lost", pod=job.handle, reason=error.sentence)
            return
        at.line, at.phase, at.reason = mine.line, mine.phase, mine.reason
        for item in _told(at, lines) if lines else ():
            yield item

    async def proceed(self, job: BuildJob, environment_exists: bool) -> None:
        """Nothing: builds here make no plan that has to be answered."""

    async def stop(self, job: BuildJob) -> None:
        """Delete the pod and wait until it is gone."""
        await self._cluster.patiently(lambda: self._delete(job.handle))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _STOPPING
        while await self._watch.look(job.handle) is not None:
            if loop.time() >= deadline:
                log.warning("pod_forced", pod=job.handle)
                await self._cluster.patiently(lambda: self._delete(job.handle, grace=0))
                deadline = loop.time() + _STOPPING
            await self._watch.news(job.handle, 1.0)
        self._watch.leave(job.handle)

    async def running(self) -> list[str]:
        """The handles of all build pods of this installation, ended ones too: they are to be removed as well."""
        found, _ = await self._cluster.items(pods(self._cluster.namespace), builds_of(self._settings.instance))
        return [name_of(pod) for pod in found if not pod["metadata"].get("deletionTimestamp")]

    async def remove(self, handle: str) -> None:
        """Delete the pod; what is left of it ends by itself."""
        await self._cluster.patiently(lambda: self._delete(handle))

    async def _delete(self, name: str, grace: int | None = None) -> None:
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            body = {**body, "gracePeriodSeconds": grace}
        with contextlib.suppress(Absent):
            await self._cluster.call("DELETE", pods(self._cluster.namespace, name), body=body)


def _notice(at: Position, sentence: str) -> Lines:
    """A line of ours between the pod's lines: it does not count among them."""
    return Lines(at.line - 1, (LogLine("unknown", sentence + "\n"),))


def _worded(end: Exit, at: Position) -> Exit:
    """The end of a build in its own words, where the pod knows only a status."""
    if end.ok or end.retryable or not at.reason.last or not end.reason.startswith("The build failed with status"):
        return end
    return replace(end, reason=at.reason.sentence(), retryable=at.reason.passing)


def _told(at: Position, lines: list[LogLine]) -> list[BuildItem]:
    """Lines that end at `at`, with the phases that they begin."""
    items: list[BuildItem] = [Phase(PHASES[phase]) for phase in dict.fromkeys(line.phase for line in lines) if phase in PHASES]
    return [*items, Lines(at.line - len(lines), tuple(lines))]
