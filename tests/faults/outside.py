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

from bench.ports import free_port
from tests.faults.asks import KNOWN, Ask
from tests.faults.client import follow
from tests.faults.gaps import Gap
from tests.faults.proxy import Proxy
from tests.gitserver import Fault, GitServer, Repo
from tests.registryserver import PROGRAM, Door, door, registry

Wrong = Callable[["Outside"], contextlib.AbstractContextManager[None]]
Case = Callable[[Gap, "Outside"], Awaitable[None]]
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
    refusing: Door
    _made: int = 0

    @property
    def cases(self) -> dict[str, Callable[[Gap], Awaitable[None]]]:
        """What can be tried here, for `gaps.run`."""
        return {name: functools.partial(case, there=self) for name, case in CASES.items()}

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
        name = self.name(self._made)
        await asyncio.to_thread(lambda: Repo.create(self.root, name).commit({"data.txt": name}))
        return Ask(name, f"gitea/{name.removesuffix('.git')}/HEAD", f"/{name}")

    @staticmethod
    def name(number: int) -> str:
        """The directory of a repository at the git server."""
        return f"of/o-{number}.git"


@contextlib.asynccontextmanager
async def outside(directory: Path) -> AsyncIterator[Outside]:
    """A git server and, where it is installed, a registry."""
    (directory / "git").mkdir()
    async with contextlib.AsyncExitStack() as stack:
        git = await stack.enter_async_context(GitServer(directory / "git"))
        behind = stack.enter_context(registry(directory / "registry")).port if PROGRAM else 0
        refusing = await stack.enter_async_context(door())
        ports = free_port(), free_port()
        forge, before = Proxy(ports[0], git.port), Proxy(ports[1], behind)
        for proxy in (forge, before):
            await stack.enter_async_context(proxy)
        yield Outside(directory / "git", git, forge, ports[0], before, ports[1], behind, refusing)


# -- what goes wrong: each a block in which it does ----------------------------------------------------------------


@contextlib.contextmanager
def _down(proxy: Proxy) -> Iterator[None]:
    """Nobody accepts a connection."""
    proxy.refusing = True
    proxy.cut()
    try:
        yield
    finally:
        proxy.go_on()


@contextlib.contextmanager
def _slow(proxy: Proxy) -> Iterator[None]:
    """Every piece of an answer takes long."""
    proxy.latency = _SLOW
    try:
        yield
    finally:
        proxy.go_on()


@contextlib.contextmanager
def _forge_says(there: Outside, status: int) -> Iterator[None]:
    """Every repository, those too that come into being meanwhile, answers with this status."""
    faults, there.git.faults = there.git.faults, {there.name(n): Fault(status=status) for n in range(1000)}
    try:
        yield
    finally:
        there.git.faults = faults


@contextlib.contextmanager
def _registry_says(there: Outside, status: int) -> Iterator[None]:
    """What stands before the registry refuses everybody with this status."""
    there.refusing.status = there.refusing.ping = status
    there.registry.lead(there.refusing.port)
    try:
        yield
    finally:
        there.registry.lead(there.registry_behind)


# -- what has to come of it ----------------------------------------------------------------------------------------


def _waited_for(wrong: Wrong, asked: Callable[[Outside], int]) -> Case:
    """Links that have to be looked up, asked for at its beginning, are still waited for at its end; `asked` counts questions."""
    async def case(gap: Gap, there: Outside) -> None:
        with wrong(there):
            before, began = asked(there), time.monotonic()
            waiting = [gap.ask(await there.link()) for _ in range(_LINKS)]
            await _known_meanwhile(gap)
            gap.figures["questions per second meanwhile"] = round((asked(there) - before) / (time.monotonic() - began), 1)
        await gap.end(waiting)
    return case


def _named(wrong: Wrong, words: str) -> Case:
    """Links that have to be looked up fail with a reason that has these words; new ones are ready afterwards."""
    async def case(gap: Gap, there: Outside) -> None:
        with wrong(there):
            links = [await there.link() for _ in range(_LINKS)]
            stories = await asyncio.gather(*[follow(gap.client, ask, patience=gap.seconds + 150) for ask in links])
            gap.figures["longest until a refusal was told, s"] = round(max(story.ready for story in stories), 2)
            gap.wrong += [f"{story.script}: {story.end}, not refused by {words}: {story.reason} {story.wrong}" for story in stories
                          if story.end != "failed" or words not in story.reason or story.wrong]
            await _known_meanwhile(gap)
        began = time.monotonic()
        await gap.ask(*[await there.link() for _ in range(_LINKS)])
        gap.figures["seconds until new links were ready after it"] = round(time.monotonic() - began, 2)
        await gap.end([])
    return case


async def _known_meanwhile(gap: Gap) -> None:
    """What was built goes on."""
    until, slowest = time.monotonic() + gap.seconds, 0.0
    while not slowest or time.monotonic() < until:
        slowest = max(slowest, (await gap.ask(KNOWN))[0].ready)
        await asyncio.sleep(min(1.0, gap.seconds / 20))
    gap.figures["slowest launch of a known image meanwhile, s"] = round(slowest, 2)


CASES: dict[str, Case] = {
    "forge-down": _waited_for(lambda there: _down(there.forge), lambda there: there.forge.came),
    "forge-slow": _waited_for(lambda there: _slow(there.forge), lambda there: there.forge.came),
    "forge-503": _waited_for(lambda there: _forge_says(there, 503), lambda there: there.forge.came),
    "forge-401": _named(lambda there: _forge_says(there, 401), "asks for a login"),
    "forge-403": _named(lambda there: _forge_says(there, 403), "asks for a login"),
    "forge-429": _named(lambda there: _forge_says(there, 429), "so many requests"),
}
if PROGRAM:
    CASES |= {
        "registry-down": _waited_for(lambda there: _down(there.registry), lambda there: there.registry.came),
        "registry-slow": _waited_for(lambda there: _slow(there.registry), lambda there: there.registry.came),
        "registry-503": _waited_for(lambda there: _registry_says(there, 503), lambda there: there.refusing.asked),
        "registry-429": _waited_for(lambda there: _registry_says(there, 429), lambda there: there.refusing.asked),
        "registry-401": _named(lambda there: _registry_says(there, 401), "registry"),
        "registry-403": _named(lambda there: _registry_says(there, 403), "registry"),
    }
