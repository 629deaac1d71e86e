"""What clients ask for: a seed decides which, and how patient they are.

`FakeAsks` writes what a build does into the name of the repository (see `services.runtimes.fake`); `RealAsks` commits to
repositories of a git server beside the installation. In both the log of a build has lines `line K of N`, so that whoever
reads it can tell a lost, a doubled and a misplaced one.
"""

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import quote

from tests.gitrepo import Content
from tests.gitserver import Executable, GitServer, Repo
from tests.stack import SHA

KNOWN = "lines-2+slow-0+known"


@dataclass(frozen=True)
class Ask:
    """One launch that a client wants."""

    name: str
    path: str  # below /build/
    repo: str  # the end of the repository's name, by which all its launches are found
    sound: bool = True  # nothing is wrong with the repository
    cancel: float | None = None  # seconds until every launch of the repository is cancelled
    cut: float = 0.0  # seconds until the client drops a connection of its own
    stop: float | None = None  # seconds from ready until the server is stopped


class Asks(Protocol):
    """The asks of one run."""

    async def known(self) -> Ask:
        """An image that exists, once it has been asked for."""

    async def next(self) -> Ask:
        """The next one."""


class FakeAsks:
    """Asks for builds of the runtime `fake`."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"asks {seed}")
        self._count = 0

    async def known(self) -> Ask:
        return fake(KNOWN)

    async def next(self) -> Ask:
        ask = self._random
        self._count += 1
        kind = ask.choices(
            ["known", "new", "shared", "fail", "crash", "vanish", "environment", "hang", "cancel"], [6, 5, 4, 1, 1, 1, 3, 1, 2])[0]
        name, lines, slow = f"n-{self._count}", ask.randint(1, 60), round(ask.uniform(0.2, 5.0), 1)
        script = {
            "known": KNOWN, "new": f"lines-{lines}+slow-{slow}+{name}", "shared": f"lines-40+slow-4+s-{self._count // 6}",
            "fail": f"fail+lines-{lines}+slow-{slow}+{name}", "crash": f"crash-1+lines-{lines}+slow-1+{name}",
            "vanish": f"vanish+lines-{lines}+slow-1+{name}", "environment": f"env-e{self._count // 8}+lines-{lines}+slow-{slow}+{name}",
            "hang": f"hang+lines-{lines}+slow-1+{name}", "cancel": f"lines-30+slow-2+{name}",
        }[kind]
        cut, wait = _cut(ask), ask.uniform(0.5, 4.0)
        return fake(
            script, sound=kind not in ("fail", "hang"), cut=cut, cancel=wait if kind in ("hang", "cancel") else None,
            stop=wait / 4 if ask.random() < 0.5 else None)


def fake(script: str, **more: float | bool | None) -> Ask:
    """A launch of the runtime `fake`."""
    path = f"git/{quote(f'https://example.org/{script}', safe='')}/{SHA}"
    return Ask(script, path, f"/{script}", **more)  # type: ignore[arg-type]


def _cut(ask: random.Random) -> float:
    return ask.uniform(0.3, 4.0) if ask.random() < 0.4 else 0.0


class RealAsks:
    """Asks for repositories of a git server; each makes the commit that it names."""

    weights: ClassVar[dict[str, int]] = {
        "known": 7, "new": 4, "shared": 4, "lines": 2, "environment": 1, "fail": 1, "bad": 1, "ref": 1, "hang": 1, "cancel": 2}

    def __init__(self, git: GitServer, root: Path, seed: int) -> None:
        self._git, self._root = git, root
        self._random = random.Random(f"asks {seed}")
        self._count = 0
        self._made: dict[str, Ask] = {}
        self._turn = asyncio.Lock()

    async def known(self) -> Ask:
        async with self._turn:
            return await self._commit("known", "new", 2, 0.0, stop=0.0)

    async def next(self) -> Ask:
        ask = self._random
        async with self._turn:
            self._count += 1
            kind = ask.choices(list(self.weights), list(self.weights.values()))[0]
            name, cut, wait = f"{kind}-{self._count}", _cut(ask), ask.uniform(0.5, 8.0)
            lines, pause = ask.randint(3, 40), round(ask.uniform(0.02, 0.3), 2)
            match kind:
                case "known":
                    return await self._commit("known", "new", 2, 0.0, stop=0.0)
                case "shared":
                    return await self._commit(f"shared-{self._count // 5}", kind, lines, pause, stop=0.5)
                case "fail" | "bad":
                    return await self._commit(name, kind, lines, pause, sound=False, cut=cut)
                case "ref":
                    found = await self._commit(name, kind, lines, pause)
                    return Ask(name, f"{found.path.rpartition('/')[0]}/no-such-branch", found.repo, sound=False)
                case "hang":
                    return await self._commit(name, kind, lines, pause, sound=False, cancel=wait, cut=cut)
                case "cancel":
                    return await self._commit(name, kind, lines, pause, cancel=wait / 3, cut=cut)
            return await self._commit(name, kind, lines, pause, cut=cut, stop=wait / 4)

    def files(self, kind: str, name: str, lines: int, pause: float) -> dict[str, Content]:
        """What is committed."""
        match kind:
            case "lines":
                return {"postBuild": printing(lines, pause)}
            case "environment":
                return {"requirements.txt": f"six==1.{10 + self._count // 10 % 8}.0\n", "data.txt": name}
            case "fail":
                return {"postBuild": Executable("#!/bin/sh\necho on the way\nexit 3\n")}
            case "bad":
                return {"start": Executable("#!/bin/sh\necho no server here\nexit 4\n")}
            case "hang":
                return {"postBuild": printing(5, 0.1, "sleep 3000")}
        return {"data.txt": name}

    async def _commit(self, name: str, kind: str, lines: int, pause: float, **more: float | bool | None) -> Ask:
        def make() -> str:
            return Repo.create(self._root, f"{name}.git").commit(self.files(kind, name, lines, pause), message=name)

        if name not in self._made:
            commit = await asyncio.to_thread(make)
            path = f"git/{quote(self._git.url(f'{name}.git'), safe='')}/{commit}"
            self._made[name] = Ask(name, path, f"/{name}.git", **more)  # type: ignore[arg-type]
        return self._made[name]


def printing(lines: int, pause: float, then: str = "true") -> Executable:
    """A postBuild that prints `line K of N`."""
    return Executable(f"#!/bin/sh\n{_loop(lines, pause)}\n{then}\n")


def _loop(lines: int, pause: float) -> str:
    return f'k=1; while [ $k -le {lines} ]; do echo "line $k of {lines}"; k=$((k+1)); sleep {pause}; done'


class DockerAsks(RealAsks):
    """The same as Dockerfiles, since the base images of repo2docker may be out of reach; `base` has a server."""

    weights: ClassVar[dict[str, int]] = {"known": 8, "new": 4, "shared": 4, "fail": 1, "bad": 1, "ref": 1, "hang": 1, "cancel": 2}

    def __init__(self, git: GitServer, root: Path, seed: int, base: str) -> None:
        super().__init__(git, root, seed)
        self._served = f"FROM {base}\n"

    def files(self, kind: str, name: str, lines: int, pause: float) -> dict[str, Content]:
        last = {"fail": f"RUN : {name}; echo on the way; exit 3", "hang": f"RUN : {name}; {_loop(5, 0.1)}; sleep 3000",
                "bad": "ENV PATH=/nowhere"}.get(kind, f"RUN : {name}; {_loop(lines, pause)}")
        return {"Dockerfile": f"{self._served}{last}\n"}
