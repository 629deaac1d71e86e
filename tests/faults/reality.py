"""What really runs, and what lies about, whatever the rows say.

A `Thing` is anything that has to be removed one day: a process, a control group, a directory, a socket, an account in use, a
hub user, a route of the proxy, a container. It belongs to a build's handle or to a hub user; a row that is open for these is
what it is there for.
"""

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from services.runtimes.fake import Script
from services.runtimes.local import detached

HANDLE = re.compile(r"build-([0-9a-f]{32})-\d+")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Thing:
    """Something that is there, and whose it is: a build's handle, a hub user, or nobody's."""

    what: str
    of: str


@dataclass(frozen=True)
class Known:
    """What the rows have ever known."""

    repos: Mapping[str, str]  # build -> address of its repository
    users: frozenset[str]


class Reality(Protocol):
    """One runtime's."""

    def active(self, known: Known) -> set[str]:
        """The handles of all builds of which something runs at this moment. Blocking."""

    def things(self, known: Known) -> Iterable[Thing]:
        """Everything that is there. Blocking."""


class FakeReality:
    """Builds of the runtime `fake` are files; its servers, where the hub is a real one, tiny processes."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def active(self, known: Known) -> set[str]:
        now, found = time.time(), set()
        for path in (self._home / "fake" / "builds").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(path.read_text())
                script = Script.of(known.repos.get(path.stem.split("-")[1], ""))
                if script.hang or now - float(state.get("go", state["at"])) < script.seconds:
                    found.add(path.stem)
        return found

    def things(self, known: Known) -> Iterable[Thing]:
        for path in (self._home / "fake" / "builds").glob("*.json"):
            yield Thing(f"the run {path.stem}", path.stem)
        for pid, words in _processes(self._home, "trivial_server.py"):
            name = next((Path(word).stem for word in words if word.endswith(".sock")), "")
            yield Thing(f"the server process {pid} of {name}", name)


class LocalReality:
    """Sandboxes on this machine."""

    def __init__(self, home: Path) -> None:
        self._root = home / "local"
        self._sockets = (home / "run").resolve() / "s"

    def active(self, known: Known) -> set[str]:
        builds = self._root / "builds"
        return {run.relative_to(builds).parts[0] for run in detached.runs(builds)}

    def things(self, known: Known) -> Iterable[Thing]:
        for name in ("builds", "servers"):
            for path in self._entries(self._root / name):
                yield Thing(f"the directory local/{name}/{path.name}", path.name)
        for path in (self._root / "images").glob(".removed-*"):
            yield Thing(f"the directory local/images/{path.name}", "")
        for path in self._entries(self._root / "uids"):
            with contextlib.suppress(OSError):
                owner = path.read_text()
                yield Thing(f"the account {path.name} in use by {owner}", owner)
        hashes = {hashlib.sha256(user.encode()).hexdigest()[:12]: user for user in known.users}
        for path in self._entries(self._sockets):
            yield Thing(f"the sockets run/s/{path.name}", hashes.get(path.name, ""))
        for pid, words in _processes(self._root, "shim.py"):
            with contextlib.suppress(ValueError):
                kind, owner, *_ = Path(words[-1]).relative_to(self._root).parts
                if kind != "bases":
                    yield Thing(f"the process {pid}, the shim of {kind}/{owner}", owner)
        yield from self._groups(known)

    def _groups(self, known: Known) -> Iterable[Thing]:
        """Control groups are named from the run's directories; those of other installations are not ours."""
        for path in {*CGROUPS.glob("*/dockyard/*"), *CGROUPS.glob("**/dockyard-*")} if CGROUPS.is_dir() else ():
            owner = path.name.removeprefix("dockyard-").rsplit("-", 2)[0]
            found = HANDLE.fullmatch(owner)
            if path.is_dir() and (owner in known.users or (found and found[1] in known.repos)):
                yield Thing(f"the control group {path.relative_to(CGROUPS)}", owner)

    @staticmethod
    def _entries(directory: Path) -> list[Path]:
        return sorted(directory.iterdir()) if directory.is_dir() else []


class DockerReality:
    """Containers and volumes of one installation on an engine."""

    def __init__(self, installation: str) -> None:
        import docker

        from services.runtimes.docker.order import BUILD, OURS, SERVER

        self._api: Any = docker.from_env(timeout=60).api
        self._ours, self._build, self._server = f"{OURS}={installation}", BUILD, SERVER

    def _containers(self, *, ended: bool) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._api.containers(all=ended, filters={"label": self._ours})
        return found

    def active(self, known: Known) -> set[str]:
        # A handle has a second container, which measures its disk and is no build.
        return {one["Labels"][self._build] for one in self._containers(ended=False)
                if f"/{one['Labels'].get(self._build)}" in one["Names"]}

    def things(self, known: Known) -> Iterable[Thing]:
        for one in self._containers(ended=True):
            labels, name = one["Labels"], one["Names"][0].removeprefix("/")
            yield Thing(f"the container {name}, {one['State']}", labels.get(self._build) or labels.get(self._server) or "")
        for one in self._api.volumes(filters={"label": self._ours})["Volumes"] or ():
            if owner := (one["Labels"] or {}).get(self._build):
                yield Thing(f"the volume {one['Name']}", owner)


def _processes(home: Path, program: str) -> Iterable[tuple[int, list[str]]]:
    """Processes of a program of ours, with a word below `home`."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if any(word.endswith(program) for word in words) and any(word.startswith(f"{home}/") for word in words):
                yield process.pid, words
