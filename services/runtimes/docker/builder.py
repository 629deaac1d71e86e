"""The Builder of the runtime `docker`: one build container an attempt, named by its handle, found again by whoever takes over.

What is stored is in the engine: the container says whether the attempt runs, how it ended and everything that it said, and
the numbers of its lines are the positions that the worker keeps. So this object remembers nothing between two calls.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import structlog

from services.errors import ImageVanished, Unreachable
from services.registry import Credentials, Reference, Registry
from services.registry.credentials import find
from services.runtimes import content
from services.runtimes.base import BuildItem, BuildJob, Exit, LogLine, Phase, Plan
from services.runtimes.base import Lines as LogLines
from services.runtimes.docker import pushing
from services.runtimes.docker.bases import Bases
from services.runtimes.docker.containers import Container
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.order import (
    BUILD,
    WORK,
    Recipe,
    build_order,
    disk,
    disk_order,
    job_files,
    labels,
    registry_login,
    volume,
)
from services.runtimes.docker.wall import Wall
from services.runtimes.docker.watch import Watch
from services.runtimes.said import Fact, Lines, Reason, read
from services.states import BuildState

log = structlog.get_logger()
_GRACE = 4.0  # seconds between TERM and KILL
_OUR_FAULT = 75  # exit status of steps that fail themselves; deploy/build/steps
_PUSH = re.compile(r"\bfailed to push\b")
_AWAY = 60.0  # seconds that the engine may be away (it restarts) while a build is followed
_PHASES = {"fetching": BuildState.FETCHING, "building": BuildState.BUILDING, "pushing": BuildState.PUSHING}


class DockerBuilder:
    """Builds images in containers."""

    def __init__(self, engine: Engine, registry: Registry | None, recipe: Recipe, bases: Bases, wall: Wall) -> None:
        self._engine, self._registry, self._recipe, self._bases, self._wall = engine, registry, recipe, bases, wall

    async def prepare(self) -> None:
        """Make the network of builds, and fill the volume of base images."""
        await self._wall.network(self._recipe.docker.builds_network())
        if self._recipe.docker.builder == "contained":
            await self._bases.volume()

    async def start(self, job: BuildJob) -> None:
        """Start the attempt, or find it; one that was made and not started is started."""
        found = await self._engine.inspect(job.handle)
        if found is None:
            await self._wall.network(self._recipe.docker.builds_network())
            bases = await self._bases.volume() if self._recipe.docker.builder == "contained" else ""
            await self._engine.volume(volume(job.handle), labels(self._recipe, job.handle))
            try:
                await self._engine.create(build_order(self._recipe, job, bases))
            except ImageVanished as error:
                await self._engine.remove_volume(volume(job.handle))
                raise Unreachable(
                    f"The image {self._recipe.docker.build_image} that builds run in is missing: "
                    "docker buildx build -t dockyard/build:latest -f deploy/build/Dockerfile .") from error
            found = await self._engine.inspect(job.handle)
        if found is not None and found.status == "created":
            login = registry_login(self._recipe, job, await self._credentials())
            await self._engine.put(job.handle, WORK, job_files(self._recipe, job, login))
            await self._engine.start(job.handle)
        if found is not None and not found.ended and await self._engine.inspect(disk(job.handle)) is None:
            await self._engine.create(disk_order(self._recipe, job.handle))
            await self._engine.start(disk(job.handle))

    async def _credentials(self) -> Credentials:
        return await find(self._recipe.registry) if self._recipe.pushes else Credentials()

    async def follow(self, job: BuildJob, line: int) -> AsyncIterator[BuildItem]:
        """Yield the log from source line `line`, phases and a plan, until the container and the pushing have ended."""
        found = await self._engine.inspect(job.handle)
        if found is None:
            yield Exit(ok=False, reason="The build container has vanished.", retryable=True)
            return
        watch = Watch(self._engine, job.handle, self._recipe.docker, self._recipe.builds, found.started)
        watching = asyncio.create_task(watch.run())
        story = _Story(line)
        try:
            async for item in self._heard(job, story, watch):
                yield item
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        found = await self._engine.inspect(job.handle)
        async for item in self._end(job, found, watch, story):
            yield item

    async def _heard(self, job: BuildJob, story: "_Story", watch: Watch) -> AsyncIterator[BuildItem]:
        """What the container says until it ends; again from the first line where the engine was away."""
        loop = asyncio.get_running_loop()
        lost: float | None = None
        while True:
            story.rewind()
            try:
                async with self._engine.output(job.handle) as chunks:
                    async for chunk in chunks:
                        lost = None
                        watch.hear(len(chunk))
                        for item in story.hear(chunk):
                            yield item
                    for item in story.close():
                        yield item
                found = await self._engine.inspect(job.handle)
                if found is None or found.status != "running":
                    return
            except Unreachable as error:
                lost = lost or loop.time()
                if loop.time() - lost > _AWAY:
                    raise
                log.warning("engine_away", handle=job.handle, reason=error.sentence)
            await asyncio.sleep(0.5)

    async def _end(self, job: BuildJob, found: Container | None, watch: Watch, story: "_Story") -> AsyncIterator[BuildItem]:
        if found is None:
            yield Exit(ok=False, reason="The build container has vanished.", retryable=True)
        elif watch.reason:
            yield Exit(ok=False, reason=watch.reason, hint=watch.hint)
        elif found.code == 0:
            yield Phase(BuildState.PUSHING)
            yield await content.kept(job, lambda: self._brought(job, story))
        elif found.out_of_memory:
            limit = f"{self._recipe.docker.build_memory / (1 << 20):.0f} MB"
            yield Exit(ok=False, reason=f"The build ran out of memory: it may use {limit}.", hint="Install less, or in smaller steps.")
        elif found.code == _OUR_FAULT:
            yield Exit(ok=False, reason=f"The build container fails: {story.reason.last[:300]}.", retryable=True)
        elif found.code in (137, 143, 255):
            yield Exit(ok=False, reason="The build container was ended from outside.", retryable=True)
        elif self._recipe.pushes and _PUSH.search(story.reason.sentence()):  # by buildx, whose words are all that there is
            yield Exit(ok=False, reason=f"The image could not be pushed: {story.reason.sentence()}", retryable=True)
        else:
            yield Exit(
                ok=False, reason=story.reason.sentence(), hint="The log above has the details.", retryable=story.reason.passing)

    async def _brought(self, job: BuildJob, story: "_Story") -> Exit:
        if story.layered:
            return await self._put_together(job, story)
        if self._recipe.docker.builder == "contained":
            if self._registry is None:
                await pushing.load(self._engine, job.handle)
            else:
                await pushing.push(self._engine, self._registry, job.handle, job.image)
        return Exit(ok=True)

    async def _put_together(self, job: BuildJob, story: "_Story") -> Exit:
        assert self._registry is not None
        environment = f"{self._recipe.environments}:{story.plan}"
        made = await pushing.described(self._engine, job.handle, "out/image.json")
        if made is not None:  # the contained builder has left an environment, which nobody has pushed yet
            await pushing.push(self._engine, self._registry, job.handle, environment)
        layer = await pushing.described(self._engine, job.handle, "out/layer.json")
        if layer is None:
            raise pushing.NothingBuilt("The build container has no layer.")
        await content.put_together(
            self._registry, job, Reference.parse(environment), content.ContentLayer(**layer),
            lambda: pushing.file_of(self._engine, job.handle, f"{WORK}/out/layer.tar.gz"))
        return Exit(ok=True, facts={"environment": story.plan, "layered": "yes"})

    async def proceed(self, job: BuildJob, environment_exists: bool) -> None:
        """Answer a plan, once: who takes over finds the answer and leaves it."""
        if await self._engine.read(job.handle, f"{WORK}/dockyard/proceed") is None:
            answer = b"reuse" if environment_exists else b"make"
            await self._engine.put(job.handle, WORK, {"dockyard/proceed": answer})

    async def stop(self, job: BuildJob) -> None:
        """TERM, then KILL; what the attempt has said stays."""
        await self._engine.kill(job.handle, "TERM")
        if not await self._engine.wait(job.handle, _GRACE):
            await self._engine.kill(job.handle, "KILL")
            await self._engine.wait(job.handle, 30)
        await self._engine.remove(disk(job.handle))

    async def running(self) -> list[str]:
        """The handles of all attempts of this installation that the engine still has, ended ones too: the reaper removes them."""
        return sorted({found[BUILD] for found in await self._engine.names(BUILD, self._recipe.ours)})

    async def remove(self, handle: str) -> None:
        """Stop and forget an attempt."""
        for name in (handle, disk(handle)):
            await self._engine.remove(name)
        with contextlib.suppress(Unreachable):  # its mounts may take a moment; the reaper comes again
            await self._engine.remove_volume(volume(handle))


class _Story:
    """What a container's output means, from its first line on; lines before `line` are read and not told again."""

    def __init__(self, line: int) -> None:
        self._next = line  # the first line that was not told yet
        self.plan = ""
        self.layered = False
        self.reason = Reason()
        self.rewind()

    def rewind(self) -> None:
        """The output comes again from its beginning."""
        self._cut, self._number, self._phase = Lines(), 0, "fetching"
        self._planned = False

    def hear(self, chunk: bytes) -> list[BuildItem]:
        """Take output in."""
        return self._told(self._cut.feed(chunk))

    def close(self) -> list[BuildItem]:
        """The output has ended."""
        return self._told(self._cut.close())

    def _told(self, raw: list[bytes]) -> list[BuildItem]:
        items: list[BuildItem] = []
        pending: list[LogLine] = []
        first = 0

        def flush() -> None:
            if pending:
                items.append(LogLines(first, tuple(pending)))
                pending.clear()

        for text in raw:
            self._number += 1
            found = read(text, self._phase)
            if isinstance(found, Fact):
                flush()
                items += self._fact(found)
                continue
            self._phase = found.phase
            self.reason.hear(found)
            if self._number >= self._next:
                if not pending:
                    first = self._number
                pending.append(LogLine("building" if found.phase == "failed" else found.phase, found.message))
                self._next = self._number + 1
        flush()
        return items

    def _fact(self, fact: Fact) -> list[BuildItem]:
        values = fact.values
        if "phase" in values and values["phase"] in _PHASES and not self._planned:
            self._phase = values["phase"]
            return [Phase(_PHASES[values["phase"]])]
        # Only the first plan counts: it was made before any code of the repository ran.
        if isinstance(values.get("plan"), str) and not self._planned:
            self._planned = True
            self.plan = values["plan"]
            return [Plan(self.plan, str(values.get("why", "")))]
        if "layer" in values and self._planned:
            self.layered = True
        return []
