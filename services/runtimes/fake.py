"""A runtime that builds nothing, for tests and benches of everything around a build.

What it does is written in the name of the repository, so that it can be driven through the front door: the last part
of the URL's path is `lines-N`, `slow-SECONDS`, `fail`, `crash-N` (the runtime itself fails N attempts), `hang`,
`env-KEY` (needs the environment KEY, taking one second), `hold-N` (no line after the Nth before there is a file of this
very name in `released/`), in any combination joined by `+`. A build's progress is kept in a directory, so it goes on
while no worker looks, as a real one does, and can be adopted; `vanish` makes it forget itself half-way. Its images are files
too or, where there is a registry (`registry.url`), manifests without layers in that. """

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.errors import Unreachable
from services.registry import OCI, Reference, Registry
from services.runtimes.base import BuildItem, BuildJob, Exit, Lines, LogLine, Phase, Plan, Presence, Thing
from services.runtimes.content import presence
from services.settings import Settings
from services.states import BuildState

_AWAY = 5.0  # seconds: as long as a registry that was away may not be asked
_EVERY = 0.05  # seconds between looks


@dataclass(frozen=True, slots=True)
class Script:
    """What a fake build does."""

    lines: int = 5
    seconds: float = 0.2
    fail: bool = False
    crash: int = 0
    hang: bool = False
    vanish: bool = False
    environment: str = ""
    hold: int | None = None
    name: str = ""  # the script as it is written

    @classmethod
    def of(cls, repo_url: str) -> "Script":
        """Read a script from the last part of a repository's address."""
        text = urlsplit(repo_url).path.rsplit("/", 1)[-1]
        values: dict[str, object] = {"name": text}
        for word in text.split("+"):
            name, _, value = word.partition("-")
            match name:
                case "lines":
                    values["lines"] = int(value)
                case "slow":
                    values["seconds"] = float(value)
                case "crash" | "hold":
                    values[name] = int(value)
                case "env":
                    values["environment"] = value
                case "fail" | "hang" | "vanish":
                    values[name] = True
                case _:
                    pass
        return cls(**values)  # type: ignore[arg-type]


class FakeBuilds:
    """Builder and image store at once; everything that runs is a file with the time of its start."""

    def __init__(self, root: Path, registry: Registry | None = None) -> None:
        self._registry = registry
        self._builds, self._images, self._environments = root / "builds", root / "images", root / "environments"
        self._released = root / "released"
        for directory in (self._builds, self._images, self._environments):
            directory.mkdir(parents=True, exist_ok=True)

    def _file(self, handle: str) -> Path:
        return self._builds / f"{handle}.json"

    async def prepare(self) -> None:
        """Nothing to prepare."""

    async def start(self, job: BuildJob) -> None:
        """Start or find."""
        path = self._file(job.handle)
        if not path.exists():
            _write(path, {"at": time.time(), "image": job.image, "pid": os.getpid()})

    async def follow(self, job: BuildJob, line: int) -> AsyncIterator[BuildItem]:
        """Tell what has happened by now, for as long as it takes."""
        script = Script.of(job.repo_url)
        path = self._file(job.handle)
        yield Phase(BuildState.FETCHING)
        state = _read(path)
        if script.environment and state is not None and "go" not in state:
            yield Plan(script.environment, "the script names it")
        else:
            yield Phase(BuildState.BUILDING)
        while True:
            state = _read(path)
            if state is None:
                yield Exit(ok=False, reason="The build has vanished.", retryable=True)
                return
            done = self._done(script, state)
            if line <= done:
                yield Lines(line, tuple(LogLine("building", f"line {n} of {script.lines}\n") for n in range(line, done + 1)))
                line = done + 1
            if done >= script.lines and not script.hang:
                break
            if script.vanish and job.attempt == 1 and done >= script.lines // 2:
                path.unlink(missing_ok=True)
            await asyncio.sleep(_EVERY)
        if job.attempt <= script.crash:
            yield Exit(ok=False, reason="The builder fell over.", retryable=True)
            return
        if script.fail:
            yield Exit(ok=False, reason="The repository cannot be built.", hint="Mend it.")
            return
        if script.environment:
            _write(self._environments / script.environment, {})
        try:
            await self._push(job.image)
        except Unreachable as error:
            yield Exit(ok=False, reason=error.sentence, retryable=True, wait=_AWAY)
            return
        yield Exit(ok=True, facts={"environment": script.environment})

    async def _push(self, image: str) -> None:
        if self._registry is None:
            _write(self._images / _name(image), {})
            return
        name = Reference.parse(image)
        config = await self._registry.upload_bytes(name.repository, b"{}")
        await self._registry.put_manifest(name, OCI, json.dumps({
            "schemaVersion": 2, "mediaType": OCI, "layers": [],
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}}).encode())

    def _done(self, script: Script, state: dict[str, float]) -> int:
        if script.environment and "go" not in state:
            return 0
        age = time.time() - float(state.get("go", state["at"]))
        most = script.lines if script.hold is None or (self._released / script.name).exists() else min(script.hold, script.lines)
        return most if script.seconds <= 0 else min(most, int(age / script.seconds * script.lines))

    async def proceed(self, job: BuildJob, environment_exists: bool) -> None:
        """Go on after a plan."""
        state = _read(self._file(job.handle))
        if state is not None and "go" not in state:
            _write(self._file(job.handle), {**state, "go": time.time() - (1e6 if environment_exists else 0)})

    async def stop(self, job: BuildJob) -> None:
        """End it."""
        self._file(job.handle).unlink(missing_ok=True)

    async def running(self) -> list[str]:
        """All that was started and not removed."""
        return [path.stem for path in self._builds.glob("*.json")]

    async def remove(self, handle: str) -> None:
        """Forget it."""
        self._file(handle).unlink(missing_ok=True)

    async def exists(self, image: str) -> Presence:
        """Whether a build has made it; `unknown` while the file `down` is there."""
        if self._registry is not None:
            return await presence(self._registry, image)
        if (self._images / "down").exists():
            return Presence.UNKNOWN
        return Presence.YES if (self._images / _name(image)).exists() else Presence.NO

    async def environment_exists(self, key: str) -> bool:
        """Whether a build has made it."""
        return (self._environments / key).exists()

    async def usage(self) -> int:
        """Bytes of the files named as images; a test makes them as big as it likes."""
        return sum(path.stat().st_size for path in self._images.iterdir())


class FakeImages:
    """The store's side of `FakeBuilds`."""

    def __init__(self, builds: FakeBuilds, root: Path) -> None:
        self.exists = builds.exists
        self.environment_exists = builds.environment_exists
        self.usage = builds.usage
        self._root = root

    async def remove(self, image: str) -> None:
        """Forget an image."""
        (self._root / "images" / _name(image)).unlink(missing_ok=True)

    async def remove_environment(self, key: str) -> None:
        """Forget an environment."""
        (self._root / "environments" / key).unlink(missing_ok=True)

    async def kept(self) -> dict[str, float]:
        """All of them, by the time of their files."""
        return {path.name.replace("%", "/"): path.stat().st_mtime for path in (self._root / "images").iterdir() if path.name != "down"}

    async def free(self, image: str) -> None:
        """Forget an image."""
        await self.remove(image)

    async def collect(self, *, caches: bool) -> None:
        """Nothing is shared here."""


class NoServers:
    """The hub alone knows the servers."""

    async def running(self) -> list[str]:
        """None that the hub does not know."""
        return []

    async def remove(self, name: str) -> None:
        """Nothing to remove."""


class FakeReality:
    """`Reality` of the fake: its builds."""

    def __init__(self, builds: FakeBuilds, root: Path) -> None:
        self._builds, self._root = builds, root

    async def things(self) -> list[Thing]:
        """The files of builds."""
        return [Thing("build", path.stem, path.stem, path.stat().st_mtime) for path in (self._root / "builds").glob("*.json")]

    async def clear(self, thing: Thing) -> None:
        """Forget one."""
        await self._builds.remove(thing.name)


class FakeRuntime:
    """The four protocols of the fake."""

    name = "fake"

    def __init__(self, root: Path, registry: Registry | None = None) -> None:
        self._registry = registry
        self.builder = FakeBuilds(root, registry)
        self.images = FakeImages(self.builder, root)
        self.spawning = NoServers()
        self.reality = FakeReality(self.builder, root)

    async def aclose(self) -> None:
        """Close the connections to the registry."""
        if self._registry is not None:
            await self._registry.aclose()


def end_servers(directory: Path) -> None:
    """End the servers that the hub's trivial spawner has started, by the files that they have left in its directory."""
    for path in directory.glob("*.pid"):
        with suppress(OSError, ValueError):
            pid, socket = int(path.read_text()), os.fsencode(path.with_suffix(".sock"))
            if socket in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):  # otherwise the number is somebody else's by now
                os.kill(pid, signal.SIGKILL)
        path.unlink(missing_ok=True)


def make(settings: Settings) -> FakeRuntime:
    """A fake runtime below the home."""
    root = Path(settings.home.path or "/tmp/dockyard-fake") / "fake"  # noqa: S108 - tests give a home
    return FakeRuntime(root, Registry(settings.registry) if settings.registry.url else None)


def _name(image: str) -> str:
    return image.replace("/", "%")


def _write(path: Path, value: object) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value))
    temporary.rename(path)


def _read(path: Path) -> dict[str, float] | None:
    try:
        value: dict[str, float] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return value
