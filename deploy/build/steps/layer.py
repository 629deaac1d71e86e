"""The content of a commit as one layer: the same bytes for the same commit, whoever makes it.

Names in order, owner 1000:1000, modes as git knows them, the commit's time on everything, gzip without a time. The parent
directories are in it with the owners that repo2docker gives them, because an engine makes missing ones as root, and the
home directory would not be the user's any more. `.git` comes along, as repo2docker copies it; its index is written anew,
since it would hold this machine's inode numbers, and its logs are left out.
"""

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

HOME = "home/jovyan"
UID = 1000
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Layer:
    """A finished layer."""

    digest: str  # of the compressed bytes
    diff_id: str  # of the tar itself
    size: int
    time: int  # seconds since 1970: the commit's


class _Hashed(io.RawIOBase):
    """Passes bytes on and counts and hashes them."""

    def __init__(self, to: IO[bytes]) -> None:
        self.to, self.sha, self.size = to, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self.sha.update(view)
        self.size += view.nbytes
        self.to.write(view)
        return view.nbytes

    def tell(self) -> int:
        """Where the archive is, for tarfile."""
        return self.size

    @property
    def digest(self) -> str:
        """Of what has passed so far."""
        return "sha256:" + self.sha.hexdigest()


def _git(root: Path, *words: str) -> str:
    options = ["-c", "core.hooksPath=/dev/null", "-c", f"safe.directory={root}", "-C", str(root)]
    return subprocess.run(["git", *options, *words], check=True, capture_output=True, text=True).stdout


def commit_time(root: Path) -> int:
    """When the commit that is checked out was made, in seconds since 1970."""
    return int(_git(root, "log", "-1", "--format=%ct"))


def settle_git(root: Path) -> None:
    """Make `.git` the same for everybody, if there is one."""
    if not (root / ".git").is_dir():
        return
    (root / ".git" / "index").unlink(missing_ok=True)
    _git(root, "read-tree", "HEAD")
    for name in ("FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG"):
        (root / ".git" / name).unlink(missing_ok=True)


def make(root: Path, to: Path, time: int, start: str = "") -> Layer:
    """Write the layer of a checkout to `to`, and what there is to know of it beside; `start` is made executable.

    `time` is the commit's.
    """
    settle_git(root)
    with to.open("wb") as file:
        outer = _Hashed(file)
        with gzip.GzipFile(filename="", mode="wb", fileobj=outer, compresslevel=1, mtime=0) as squeezed:
            inner = _Hashed(squeezed)
            with tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as tar:  # type: ignore[call-overload]
                for name, uid in (("home", 0), (HOME, UID)):
                    tar.addfile(_entry(name, tarfile.DIRTYPE, 0o755, time, uid))
                for path, name in _walk(root):
                    _add(tar, path, name, time, executable=name == start)
        layer = Layer(outer.digest, inner.digest, outer.size, time)
    (to.parent / "layer.json").write_text(json.dumps(asdict(layer)))
    return layer


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """Everything below the root in the order of its names."""
    for directory, directories, files in os.walk(root):
        here = Path(directory)
        relative = here.relative_to(root)
        if str(relative) == ".git":
            directories[:] = [name for name in directories if name != "logs"]
        directories.sort()
        links = [name for name in directories if (here / name).is_symlink()]
        if here != root:
            yield here, str(relative)
        for name in sorted([*files, *links]):
            yield here / name, str(relative / name)


def _entry(name: str, kind: bytes, mode: int, time: int, uid: int = UID) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime, entry.uid, entry.gid = kind, mode, time, uid, uid
    return entry


def _add(tar: tarfile.TarFile, path: Path, name: str, time: int, *, executable: bool) -> None:
    found, name = path.lstat(), f"{HOME}/{name}"
    if stat.S_ISDIR(found.st_mode):
        tar.addfile(_entry(name, tarfile.DIRTYPE, 0o755, time))
    elif stat.S_ISLNK(found.st_mode):
        entry = _entry(name, tarfile.SYMTYPE, 0o777, time)
        entry.linkname = os.readlink(path)
        tar.addfile(entry)
    elif stat.S_ISREG(found.st_mode):
        mode = found.st_mode & 0o777
        entry = _entry(name, tarfile.REGTYPE, mode | 0o111 if executable else mode, time)
        entry.size = found.st_size
        with path.open("rb") as file:
            tar.addfile(entry, file)
