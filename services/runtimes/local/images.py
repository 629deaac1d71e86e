"""Images: what a server is started from. A record in a directory made of the image's name, and the content beside it.

An image is small: it points to an environment, which many images share, and holds the content of its commit (the
checkout, or the home as postBuild has left it). It exists only when record, content and environment are all complete.
"""

import asyncio
import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.errors import ImageVanished
from services.runtimes.base import Presence
from services.runtimes.local import detached
from services.runtimes.local.environments import Environment, EnvironmentStore
from services.runtimes.local.paths import Paths
from services.runtimes.local.trees import discard, tree_bytes


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image, complete when it was read."""

    image: str
    environment: Environment  # `.venv` is bound at sandbox.VENV, `.interpreter` at its own prefix
    content: Path  # what a server's home starts with, .git included; nobody's to write
    content_bytes: int
    start: str  # path of the start script below the home, or ""
    commit: str
    repo_url: str
    created: float


class Images:
    """The store of images; an `ImageStore`, with `open` and `add` for those who use it."""

    def __init__(self, paths: Paths, environments: EnvironmentStore) -> None:
        self._paths = paths
        self._environments = environments

    async def exists(self, image: str) -> Presence:
        """Whether a server could be started from this image; unknown when the disk does not answer."""
        try:
            return Presence.YES if await asyncio.to_thread(self._find, image) else Presence.NO
        except OSError:
            return Presence.UNKNOWN

    async def environment_exists(self, key: str) -> bool:
        """Whether this environment is complete and need not be resolved anew."""
        return await asyncio.to_thread(self._environments.fresh, key) is not None

    async def remove(self, image: str) -> None:
        """Forget an image, and environments that nobody has used for a day and no image or server needs."""
        await asyncio.to_thread(self._remove, image)

    async def usage(self) -> int:
        """Bytes in use by images, environments and caches; hard links count once."""
        return await asyncio.to_thread(tree_bytes, [self._paths.images, self._paths.environments, self._paths.root / "cache"])

    async def kept(self) -> Mapping[str, float]:
        """When each image was last opened, in seconds since 1970."""
        return await asyncio.to_thread(self._last_used)

    async def free(self, image: str) -> None:
        """Forget an image, unless a server has its content bound. Nowhere else is a copy of it."""
        await asyncio.to_thread(self._remove, image)

    async def remove_environment(self, key: str) -> None:
        """Left to `collect`."""

    async def collect(self, *, caches: bool) -> None:
        """Remove environments that no image and no server needs; with `caches`, downloads as well, where nothing builds."""
        await asyncio.to_thread(self.tidy, 0.0 if caches else 86400.0)
        if caches and not detached.runs(self._paths.builds) and not detached.runs(self._paths.bases, 2):
            for cache in (self._paths.root / "cache" / "uv", self._paths.conda_cache):
                await asyncio.to_thread(discard, cache)

    def open(self, image: str) -> ImageRecord:
        """The image, and a stamp that it was used. Blocking. Raises `ImageVanished`."""
        record = self._find(image)
        if record is None:
            raise ImageVanished("The image is gone from this machine and has to be built again.")
        os.utime(self._directory(image) / "record.json")
        self._environments.touch(record.environment)
        return record

    def add(self, image: str, content: Path, environment: Environment, facts: Mapping[str, Any], *, name: str) -> ImageRecord:
        """Take in a finished content directory (same file system, nobody's to write) under a name; replaces an older one.

        `facts` are start, commit, repo_url; `name` names the content, and whoever was interrupted in here calls again
        with the same one. Blocking.
        """
        directory = self._directory(image)
        directory.mkdir(mode=0o755, exist_ok=True)
        self._environments.touch(environment)
        name = f"content-{name}"
        if not (directory / name).exists():
            content.rename(directory / name)
        size = tree_bytes([directory / name])
        # An owner of an earlier attempt may be paused in here and awaken at any moment. Once its content has gone it writes no
        # record, and one that it is about to put in place goes with its draft; so what is there is never replaced by what is not.
        before = self._content(directory)
        for other in directory.glob("content-*"):
            if other.name not in (name, before) and other not in self._in_use("content"):
                discard(other)
        for other in directory.glob(".record-*"):
            other.unlink(missing_ok=True)
        value = {
            **facts, "image": image, "content": name, "content_bytes": size, "created": time.time(),
            "environment": os.path.relpath(environment.directory, self._paths.environments),
        }
        draft = directory / f".record-{uuid.uuid4().hex}"
        draft.write_text(json.dumps(value))
        if (directory / name).is_dir():
            draft.replace(directory / "record.json")
            if before not in ("", name) and directory / before not in self._in_use("content"):
                discard(directory / before)
        draft.unlink(missing_ok=True)
        record = self._find(image)
        if record is None:
            raise ImageVanished("The image is gone from this machine and has to be built again.")
        return record

    def _content(self, directory: Path) -> str:
        """The name of the content that the record in a directory tells; empty without one."""
        try:
            return str(json.loads((directory / "record.json").read_text())["content"])
        except FileNotFoundError:
            return ""

    def _directory(self, image: str) -> Path:
        return self._paths.images / hashlib.sha256(image.encode()).hexdigest()[:40]

    def _find(self, image: str) -> ImageRecord | None:
        directory = self._directory(image)
        try:
            value = json.loads((directory / "record.json").read_text())
        except FileNotFoundError:
            return None
        environment = self._environments.read(self._paths.environments / value["environment"])
        content = directory / value["content"]
        if environment is None or not content.is_dir():
            return None
        return ImageRecord(
            value["image"], environment, content, value["content_bytes"], value["start"], value["commit"],
            value["repo_url"], value["created"],
        )

    def tidy(self, unused_for: float = 86400.0) -> None:
        """Remove what no image and no server needs any more: content without a record, environments unused for so many seconds.

        Blocking.
        """
        used = set(self._in_use("content"))
        for directory in self._paths.images.iterdir():
            content = list(directory.glob("content-*"))
            with suppress(FileNotFoundError):  # others tidy too
                # A build that adds an image just now has put its content there before the record.
                settled = all(time.time() - path.stat().st_ctime > 60 for path in (directory, *content))
                if not (directory / "record.json").exists() and settled and not used.intersection(content):
                    discard(directory)
        self._environments.collect(self._used_environments(), unused_for=max(3600.0, unused_for))

    def _remove(self, image: str) -> None:
        directory = self._directory(image)
        (directory / "record.json").unlink(missing_ok=True)
        if directory.exists() and not set(self._in_use("content")).intersection(directory.glob("content-*")):
            discard(directory)
        self.tidy()

    def _used_environments(self) -> list[Path]:
        found = self._in_use("environment")
        for record in self._paths.images.glob("*/record.json"):
            with suppress(FileNotFoundError):
                found.append(self._paths.environments / json.loads(record.read_text())["environment"])
        return found

    def _in_use(self, what: str) -> list[Path]:
        """Directories that servers have bound, by the note in each server's directory (`homes.note_use`)."""
        found = []
        for note in self._paths.servers.glob("*/uses.json"):
            with suppress(FileNotFoundError):
                if value := json.loads(note.read_text()).get(what):
                    found.append(Path(value))
        return found

    def _last_used(self) -> dict[str, float]:
        found = {}
        for record in self._paths.images.glob("*/record.json"):
            with suppress(FileNotFoundError):
                found[json.loads(record.read_text())["image"]] = record.stat().st_mtime
        return found
