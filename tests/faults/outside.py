"""The forge and the registry go away for a while, are slow or refuse, and come back: cases like those of `gaps`.

A real git server, and the real registry where it is installed, each behind a proxy; the builds of the runtime `fake` put a
manifest into that registry. What was built goes on meanwhile; what has to be looked up waits where that may pass by itself,
and otherwise ends at once with a reason that names who refuses.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from bench.ports import free_port
from tests.faults.asks import KNOWN, Ask
from tests.faults.client import Story, follow
from tests.faults.gaps import Gap
from tests.faults.proxy import Proxy
from tests.gitserver import Fault, GitServer, Repo
from tests.registryserver import PROGRAM, registry

_LINKS = 5  # that have to be looked up in each gap
_SLOW = 1.0  # seconds for each piece of an answer


@dataclass
class Outside:
    """Both, with what stands before them."""

    root: Path
    git: GitServer
    forge: Proxy
    forge_port: int
    registry: Proxy
    registry_port: int
    registry_behind: int  # 0: there is none
    refusing: "Refusing"
    _made: int = 0

    @property
    def cases(self) -> dict[str, Callable[[Gap], Awaitable[None]]]:
        """What can be tried here, for `gaps.run`."""
        return {name: functools.partial(case, there=self) for name, case in (FORGE | (REGISTRY if self.registry_behind else {})).items()}

    @property
    def settings(self) -> dict[str, str]:
        """What a site needs to use them."""
        wanted = {
            "DOCKYARD_EGRESS_PRIVATE": "true", "DOCKYARD_PROVIDERS_TIMEOUT": "10", "DOCKYARD_PROVIDERS_ENABLED": "git,gitea",
            "DOCKYARD_PROVIDERS_GITEA_HOST": f"http://127.0.0.1:{self.forge_port}"}
        return wanted | ({
            "DOCKYARD_REGISTRY_URL": f"http://127.0.0.1:{self.registry_port}",
            "DOCKYARD_BUILDS_IMAGE_PREFIX": f"127.0.0.1:{self.registry_port}/tests/r2d-"} if self.registry_behind else {})

    async def link(self) -> Ask:
        """A new repository by its branch, which nobody has looked up."""
        self._made += 1
        name = f"o-{self._made}"
        await asyncio.to_thread(lambda: Repo.create(self.root, f"of/{name}.git").commit({"data.txt": name}))
        return Ask(name, f"gitea/of/{name}/HEAD", f"/{name}.git")

    @contextlib.contextmanager
    def forge_answers(self, fault: Fault) -> Iterator[None]:
        """Every repository, those too that come into being meanwhile, has this fault."""
        faults = self.git.faults
        self.git.faults = {f"of/o-{n}.git": fault for n in range(self._made + 1, self._made + 1000)}
        try:
            yield
        finally:
            self.git.faults = faults

    @contextlib.contextmanager
    def registry_answers(self, status: int) -> Iterator[None]:
        """What stands before the registry refuses everybody with this status."""
        self.refusing.status = status
        self.registry.lead(self.refusing.port)
        try:
            yield
        finally:
            self.registry.lead(self.registry_behind)


class Refusing:
    """Answers everything with one status."""

    def __init__(self) -> None:
        self.status, self.port, self.asked = 503, 0, 0

    async def answer(self, _: web.Request) -> web.Response:
        """Refuse."""
        self.asked += 1
        return web.Response(status=self.status, headers={"WWW-Authenticate": 'Basic realm="x"'} if self.status == 401 else None)


@contextlib.asynccontextmanager
async def outside(directory: Path) -> AsyncIterator[Outside]:
    """A git server and, where it is installed, a registry."""
    (directory / "git").mkdir()
    async with contextlib.AsyncExitStack() as stack:
        git = await stack.enter_async_context(GitServer(directory / "git"))
        behind = stack.enter_context(registry(directory / "registry")).port if PROGRAM else 0
        refusing, app = Refusing(), web.Application()
        app.router.add_route("*", "/{rest:.*}", refusing.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        refusing.port = runner.addresses[0][1]
        ports = free_port(), free_port()
        forge, before = Proxy(ports[0], git.port), Proxy(ports[1], behind)
        for proxy in (forge, before):
            await stack.enter_async_context(proxy)
        yield Outside(directory / "git", git, forge, ports[0], before, ports[1], behind, refusing)


async def _known_meanwhile(gap: Gap, seconds: float) -> None:
    """What was built goes on."""
    until, slowest = time.monotonic() + seconds, 0.0
    while not slowest or time.monotonic() < until:
        slowest = max(slowest, (await gap.ask(KNOWN))[0].ready)
        await asyncio.sleep(min(1.0, seconds / 20))
    gap.figures["slowest launch of a known image meanwhile, s"] = round(slowest, 2)


async def _waits(gap: Gap, there: Outside, asked: Callable[[], int]) -> list[asyncio.Task[list[Story]]]:
    """Links that have to be looked up, asked for at the beginning of a gap; they are still waited for at its end."""
    before, began = asked(), time.monotonic()
    waiting = [gap.ask(await there.link()) for _ in range(_LINKS)]
    await _known_meanwhile(gap, gap.seconds)
    gap.figures["questions per second meanwhile"] = round((asked() - before) / (time.monotonic() - began), 1)
    return waiting


async def _refused(gap: Gap, there: Outside, words: str) -> None:
    """Links that have to be looked up fail with a reason; the same link is ready afterwards."""
    links = [await there.link() for _ in range(_LINKS)]
    stories = await asyncio.gather(*[follow(gap.client, ask, patience=gap.seconds + 150) for ask in links])
    gap.figures["longest until a refusal was told, s"] = round(max(story.ready for story in stories), 2)
    gap.wrong += [f"{story.script}: {story.end}, not refused by {words}: {story.reason} {story.wrong}" for story in stories
                  if story.end != "failed" or words not in story.reason or story.wrong]
    await _known_meanwhile(gap, gap.seconds)


async def _after(gap: Gap, there: Outside) -> None:
    began = time.monotonic()
    await gap.ask(*[await there.link() for _ in range(_LINKS)])
    gap.figures["seconds until new links were ready after it"] = round(time.monotonic() - began, 2)
    await gap.end([])


async def forge_down(gap: Gap, there: Outside) -> None:
    """Nobody accepts a connection."""
    there.forge.refusing = True
    there.forge.cut()
    waiting = await _waits(gap, there, lambda: there.forge.came)
    there.forge.go_on()
    await gap.end(waiting)


async def forge_slow(gap: Gap, there: Outside) -> None:
    """Every piece of an answer takes long."""
    there.forge.latency = _SLOW
    waiting = await _waits(gap, there, lambda: there.forge.came)
    there.forge.go_on()
    await gap.end(waiting)


async def forge_failing(gap: Gap, there: Outside) -> None:
    """It answers 503."""
    with there.forge_answers(Fault(status=503)):
        waiting = await _waits(gap, there, lambda: there.forge.came)
    await gap.end(waiting)


def _forge_refusing(status: int, words: str) -> Callable[[Gap, Outside], Awaitable[None]]:
    async def case(gap: Gap, there: Outside) -> None:
        with there.forge_answers(Fault(status=status)):
            await _refused(gap, there, words)
        await _after(gap, there)
    return case


async def registry_down(gap: Gap, there: Outside) -> None:
    """Nobody accepts a connection."""
    there.registry.refusing = True
    there.registry.cut()
    waiting = await _waits(gap, there, lambda: there.registry.came)
    there.registry.go_on()
    await gap.end(waiting)


async def registry_slow(gap: Gap, there: Outside) -> None:
    """Every piece of an answer takes long."""
    there.registry.latency = _SLOW
    waiting = await _waits(gap, there, lambda: there.registry.came)
    there.registry.go_on()
    await gap.end(waiting)


def _registry_failing(status: int) -> Callable[[Gap, Outside], Awaitable[None]]:
    async def case(gap: Gap, there: Outside) -> None:
        with there.registry_answers(status):
            waiting = await _waits(gap, there, lambda: there.refusing.asked)
        await gap.end(waiting)
    return case


def _registry_refusing(status: int) -> Callable[[Gap, Outside], Awaitable[None]]:
    async def case(gap: Gap, there: Outside) -> None:
        with there.registry_answers(status):
            await _refused(gap, there, "registry")
        await _after(gap, there)
    return case


FORGE: dict[str, Callable[[Gap, Outside], Awaitable[None]]] = {
    "forge-down": forge_down, "forge-slow": forge_slow, "forge-503": forge_failing,
    "forge-401": _forge_refusing(401, "asks for a login"), "forge-403": _forge_refusing(403, "asks for a login"),
    "forge-429": _forge_refusing(429, "so many requests"),
}
REGISTRY: dict[str, Callable[[Gap, Outside], Awaitable[None]]] = {
    "registry-down": registry_down, "registry-slow": registry_slow, "registry-503": _registry_failing(503),
    "registry-429": _registry_failing(429), "registry-401": _registry_refusing(401), "registry-403": _registry_refusing(403),
}
