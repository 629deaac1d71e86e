"""Environments: complete, immutable Python installations, found by the key of what they were made of.

An environment is made somewhere else and enters the store by one rename, so there is never half a one. Making a key
anew (a rebuild, or inputs without fixed versions that have grown old) adds a generation beside the old one, which
images and servers may still use; nothing in use is removed. """

import errno
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from services.runtimes.local.interpreters import Interpreter
from services.runtimes.local.paths import Paths
from services.runtimes.local.trees import discard, remove


@dataclass(frozen=True, slots=True)
class Environment:
    """One generation of one environment."""

    key: str
    directory: Path  # holds `venv` and, where a postBuild has written into the home, `home`
    interpreter: Interpreter
    pinned: bool  # whether every requirement names one version
    created: float  # seconds since 1970

    @property
    def venv(self) -> Path:
        """What is bound at `sandbox.VENV`."""
        return self.directory / "venv"

    @property
    def home(self) -> Path | None:
        """The home as postBuild has left it, without .git; None where no postBuild ran."""
        path = self.directory / "home"
        return path if path.is_dir() else None


class EnvironmentStore:
    """The directory of environments."""

    def __init__(self, paths: Paths, *, days: float) -> None:
        self._paths = paths
        self._seconds = days * 86400

    def find(self, key: str) -> Environment | None:
        """The newest generation, if it is complete and its interpreter still exists."""
        current = self._paths.environments / key / "current"
        try:
            return self.read(current.parent / os.readlink(current))
        except OSError:
            return None

    def fresh(self, key: str) -> Environment | None:
        """The newest generation, unless it is to be resolved anew because its versions are not fixed and it is old."""
        found = self.find(key)
        if found is None or (not found.pinned and time.time() - found.created > self._seconds):
            return None
        return found

    def read(self, directory: Path) -> Environment | None:
        """The generation in a directory, if it is complete and its interpreter still exists."""
        try:
            meta = json.loads((directory / "meta.json").read_text())
        except OSError:
            return None
        interpreter = Interpreter(**meta["interpreter"])
        if not os.path.exists(interpreter.source):
            return None
        return Environment(meta["key"], directory, interpreter, meta["pinned"], meta["created"])

    def add(self, key: str, made: Path, interpreter: Interpreter, *, pinned: bool, name: str) -> Environment:
        """Take in a directory with a finished `venv` (and `home`), on the same file system and nobody's to write.

        `name` names the generation; whoever was interrupted in here calls again with the same name.
        """
        parent = self._paths.directory(self._paths.environments / key, None)
        if not (parent / name).exists():
            meta = {"key": key, "interpreter": asdict(interpreter), "pinned": pinned, "created": time.time()}
            (made / "meta.json").write_text(json.dumps(meta))
            made.rename(parent / name)
        link = parent / f".{name}"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        link.replace(parent / "current")
        found = self.read(parent / name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "the environment was removed again")
        return found

    def touch(self, environment: Environment) -> None:
        """Remember that the environment was used now."""
        os.utime(environment.directory / "meta.json")

    def collect(self, used: Iterable[Path], *, unused_for: float) -> None:
        """Remove generations that nothing uses: superseded ones, and those not used for this many seconds."""
        kept = {path.resolve() for path in used}
        for parent in self._paths.environments.iterdir():
            with suppress(FileNotFoundError):  # others collect too
                self._collect(parent, kept, unused_for)

    def _collect(self, parent: Path, kept: set[Path], unused_for: float) -> None:
        current = self.find(parent.name)
        for directory in parent.iterdir():
            if directory.name.startswith(".removed-"):
                remove(directory)
            if directory.is_symlink() or not directory.is_dir() or directory.resolve() in kept:
                continue
            meta = directory / "meta.json"
            age = time.time() - (meta.stat().st_mtime if meta.exists() else directory.stat().st_mtime)
            superseded = current is None or current.directory != directory
            if age > unused_for or (superseded and age > 60):
                discard(directory)
        # Only what is empty: a new generation may come at any moment.
        for link in parent.iterdir():
            if link.is_symlink() and not link.exists():
                link.unlink()
        with suppress(OSError):
            parent.rmdir()
