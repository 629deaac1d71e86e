"""Where the runtime `local` keeps everything, and which accounts builds and servers run as.

    builds/<handle>/             one attempt: log, the two runs (fetch/, make/), content, environment in the making
    bases/<key>/                 an environment of Jupyter alone in the making, which others begin as
    environments/<key>/<n>/      a complete environment: venv/, perhaps home/, meta.json; `current` leads to the newest
    images/<digest of name>/     record.json and the content that servers start from
    servers/<name>/              one server: home, sockets, its run
    cache/                       uv's cache, written only where no repository's code runs
    programs/ tools/ etc/        what sandboxes read: our programs, copies of unreadable tools, files below /etc
    uids/                        one file per host account in use, when started as root

Started as root, every build and server has a host account (uid) of its own, so that what escapes one sandbox is nobody
in particular. Otherwise all of them are the account that started Dockyard.
"""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.errors import Overloaded
from services.settings import HomeSettings, LocalSettings

# Between the uids that systemd gives to containers and the sign bit: belongs to nobody (systemd, UIDS-GIDS.md).
FIRST_UID = 0x70000000
UIDS = 1 << 16


@dataclass(frozen=True, slots=True)
class Paths:
    """The directories of one home's runtime `local`. Made with `Paths.of`, which creates them."""

    root: Path
    egress: Path  # directory of the egress proxy's sockets
    first_uid: int | None  # None: not root, everything runs as ourselves

    @classmethod
    def of(cls, local: LocalSettings, home: HomeSettings) -> Self:
        """The paths that the settings name, without touching the disk."""
        root = Path(local.directory or Path(home.path or ".") / "local").absolute()
        egress = Path(local.egress or Path(home.path or root.parent) / "run" / "egress").absolute()
        return cls(root, egress, (local.uid or FIRST_UID) if os.geteuid() == 0 else None)

    def make(self) -> Self:
        """Create what is missing. As root, others may pass through but not look around."""
        mode = 0o700 if self.first_uid is None else 0o711
        self.root.mkdir(mode=mode, parents=True, exist_ok=True)
        for name in ("builds", "bases", "environments", "images", "servers", "cache", "programs", "tools", "etc"):
            (self.root / name).mkdir(mode=mode, exist_ok=True)
        (self.root / "uids").mkdir(mode=0o700, exist_ok=True)
        self.own(self.cache, self.store_uid)
        return self

    @property
    def builds(self) -> Path:
        """One directory per attempt at a build."""
        return self.root / "builds"

    @property
    def bases(self) -> Path:
        """One directory per base environment in the making."""
        return self.root / "bases"

    @property
    def environments(self) -> Path:
        """Complete environments by key."""
        return self.root / "environments"

    @property
    def images(self) -> Path:
        """Images by the digest of their name."""
        return self.root / "images"

    @property
    def servers(self) -> Path:
        """One directory per server."""
        return self.root / "servers"

    @property
    def cache(self) -> Path:
        """uv's cache that all builds share; made here on first use."""
        path = self.root / "cache" / "uv"
        path.mkdir(mode=0o755, exist_ok=True)
        return path

    @property
    def conda_cache(self) -> Path:
        """The cache of conda packages from well-known channels."""
        return self.root / "cache" / "conda"

    @property
    def etc(self) -> Path:
        """The files of `sandbox.write_etc`."""
        return self.root / "etc"

    @property
    def store_uid(self) -> int | None:
        """The account that installs wheels with the shared cache in reach; runs no repository's code."""
        return self.first_uid

    def own(self, path: Path, uid: int | None) -> None:
        """Give one file or directory to an account; nothing where there is only one."""
        if uid is not None:
            os.chown(path, uid, uid, follow_symlinks=False)

    def directory(self, path: Path, uid: int | None, mode: int = 0o755) -> Path:
        """A directory of an account, made if missing."""
        path.mkdir(mode=mode, exist_ok=True)
        self.own(path, uid)
        return path

    def take_uid(self, owner: str) -> int | None:
        """The account of a build or server, the same one whenever asked for the same owner; None where we are not root.

        Raises `Overloaded` when all accounts are in use.
        """
        if self.first_uid is None:
            return None
        directory = self.root / "uids"
        free = set(range(1, UIDS))
        for path in directory.iterdir():
            if path.name.isdigit():
                if _owner(path) == owner:
                    return self.first_uid + int(path.name)
                free.discard(int(path.name))
        for number in sorted(free):
            draft = directory / f".{owner}.{uuid.uuid4().hex}"
            draft.write_text(owner)
            try:
                os.link(draft, directory / str(number))
            except FileExistsError:
                continue
            finally:
                draft.unlink()
            return self.first_uid + number
        raise Overloaded("All accounts for builds and servers are in use.", 60)

    def give_back_uid(self, owner: str) -> None:
        """Free the account of a build or server of which no process and no file is left."""
        for path in (self.root / "uids").iterdir():
            if path.name.isdigit() and _owner(path) == owner:
                path.unlink(missing_ok=True)


def _owner(path: Path) -> str:
    """Who has an account; nobody where it has just been given back."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
