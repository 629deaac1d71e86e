"""A home of the runtime for tests, with its egress proxy and an index of its own, and what can be done in it."""

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.egress.logins import Logins
from services.runtimes.base import BuildItem, BuildJob, Exit, Lines, LogLine, Plan
from services.runtimes.local.builder import LocalBuilder
from services.runtimes.local.detached import stop_everything
from services.runtimes.local.paths import Paths
from services.runtimes.local.trees import remove
from services.runtimes.local.workshop import Workshop
from services.settings import Settings, load
from tests.services.runtimes.local.packages import Index

ROOT = Path(__file__).parents[4]


@dataclass
class Built:
    """Everything that following a build has told."""

    job: BuildJob
    items: list[BuildItem] = field(default_factory=list)

    @property
    def exit(self) -> Exit:
        assert isinstance(self.items[-1], Exit)
        return self.items[-1]

    @property
    def lines(self) -> list[LogLine]:
        return [line for item in self.items if isinstance(item, Lines) for line in item.lines]

    @property
    def text(self) -> str:
        return "".join(line.message for line in self.lines)

    @property
    def plan(self) -> Plan:
        return next(item for item in self.items if isinstance(item, Plan))


class Ground:
    """One home."""

    def __init__(self, root: Path, index: Index, **values: str) -> None:
        self.root = root
        self.index = index
        self.values = values
        self.settings = self._load(values)

    def _load(self, values: dict[str, str]) -> Settings:
        return load({
            "DOCKYARD_HOME_PATH": str(self.root), "DOCKYARD_EGRESS_PRIVATE": "true", "DOCKYARD_LOCAL_JUPYTER": "tinyjupyter==1.*",
            "DOCKYARD_LOCAL_FREE_BYTES": "0", "DOCKYARD_LOCAL_BUILD_PROCESSES": "128", **values,
        })

    def workshop(self, **values: str) -> Workshop:
        """A workshop on this home, with settings of its own."""
        settings = self._load({**self.values, **values})
        environ = {"UV_DEFAULT_INDEX": self.index.url}
        return Workshop(Paths.of(settings.local, settings.home), settings.local, settings.builds, environ, Logins(settings.providers))

    def job(
        self, url: str, commit: str, *, image: str = "", ref: str = "", no_cache: bool = False, **more: Any,
    ) -> BuildJob:
        """An attempt at a build."""
        number = secrets.token_hex(16)
        return BuildJob(number, 1, image or f"image-{number}:{commit}", "git", url, commit, ref, no_cache, **more)

    async def build(self, job: BuildJob, workshop: Workshop | None = None) -> Built:
        """Build to the end, as the worker does."""
        workshop = workshop or self.workshop()
        builder, built = LocalBuilder(workshop), Built(job)
        await builder.start(job)
        async for item in builder.follow(job, 1):
            built.items.append(item)
            if isinstance(item, Plan):
                exists = not job.no_cache and await workshop.images.environment_exists(item.environment)
                await builder.proceed(job, exists)
        await builder.remove(job.handle)
        return built


@contextlib.contextmanager
def ground(**values: str) -> Iterator[Ground]:
    """A new home with a running egress proxy, removed at the end. Short, and open to the accounts of sandboxes."""
    root = Path(tempfile.mkdtemp(prefix="dockyard-local-", dir="/tmp"))
    root.chmod(0o711)
    index = Index(root / "index")
    index.wheel("tinyjupyter", "1.0")
    found = Ground(root, index, **values)
    env = {name: value for name, value in os.environ.items() if not name.startswith("DOCKYARD_")} | {
        "DOCKYARD_HOME_PATH": str(root), "DOCKYARD_EGRESS_PRIVATE": "true", "DOCKYARD_EGRESS_REFUSED": "127.0.0.1:9", **values,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    log, command = root / "egress.log", [sys.executable, "-m", "services.runtimes.local.egress_proxy"]
    with log.open("wb") as output:
        proxy = subprocess.Popen(command, env=env, stdout=output, stderr=output, cwd=ROOT)
    try:
        until = time.monotonic() + 120
        while not all((root / f"run/egress/{name}/sock").exists() for name in ("fetch", "build", "server")):
            assert proxy.poll() is None, log.read_text()
            assert time.monotonic() < until, "the egress proxy does not start"
            time.sleep(0.02)
        yield found
    finally:
        stop_everything(root / "local")
        proxy.terminate()
        try:
            proxy.wait(60)
        finally:
            proxy.kill()
            proxy.wait()
            remove(root)


_NEXT = iter(range(1000))


def environments(home: Ground) -> set[str]:
    """The keys in the store."""
    directory = home.root / "local/environments"
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def fresh(home: Ground) -> str:
    """The name of a package that no environment has yet."""
    name = f"fresh{next(_NEXT)}"
    home.index.wheel(name)
    return name
