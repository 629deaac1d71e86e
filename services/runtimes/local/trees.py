"""Trees of files that a repository's code has written: measuring, copying and removing them, making them nobody's to
write.

The work is left to coreutils and findutils, which never follow symbolic links inside a tree and do not mind names,
modes or a depth made to hurt (Python's own rmtree gives up at a thousand levels). Nothing may run in a tree
meanwhile. """

import errno
import os
import stat
import subprocess
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from services.errors import BuildFailed
from services.runtimes.local.alone import held

log = structlog.get_logger()
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))  # as coreutils say it, too
_APART = 3  # levels of directories whose entries are copied apart by `complete`: down to site-packages
_BATCH = 50  # of them at a time


class NotMoved(BuildFailed):
    """Files could not be measured, copied or moved, because of the disk (`full`) or of somebody else at the same place; trying again
    may help.
    """

    retryable = True

    def __init__(self, sentence: str, *, full: bool = False) -> None:
        super().__init__(sentence)
        self.full = full


def tree_bytes(paths: Iterable[Path]) -> int:
    """Bytes that trees take on disk, hard links once; what vanishes meanwhile counts nothing."""
    total, seen, stack = 0, set(), [str(path) for path in paths]
    while stack:
        with suppress(OSError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    info = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        stack.append(entry.path)
                    elif info.st_nlink > 1:
                        if info.st_ino in seen:
                            continue
                        seen.add(info.st_ino)
                    total += info.st_blocks * 512
    return total


def settle(tree: Path, *, frozen: bool = False) -> None:
    """Make a tree readable to all and drop what is neither file, directory nor link; as root it becomes root's.

    `frozen` takes the right to write from files, so that one shared by hard links cannot be changed by mistake. What is no
    directory itself is removed: coreutils would follow a link that is named to them. Raises `NotMoved`, as all that follow do.
    """
    if not stat.S_ISDIR(tree.lstat().st_mode):
        tree.unlink()
        return
    if os.geteuid() == 0:
        _run("chown", "-R", "-h", "0:0", "--", str(tree))
    _run("chmod", "-R", "u+rwX,go+rX,go-w,ug-s", "--", str(tree))
    _run("find", str(tree), "!", "-type", "f", "!", "-type", "d", "!", "-type", "l", "-delete")
    if frozen:
        _run("find", str(tree), "-type", "f", "-exec", "chmod", "a-w", "--", "{}", "+")


def own(tree: Path, uid: int | None) -> None:
    """Give a whole tree to an account of the host; nothing where there is only one."""
    if uid is not None:
        _run("chown", "-R", "-h", f"{uid}:{uid}", "--", str(tree))


def link(source: Path, target: Path, uid: int | None) -> None:
    """Fill the existing directory `target` with hard links to the files of a frozen tree; directories go to the account."""
    _run("cp", "-al", "--", f"{source}/.", str(target))
    if uid is not None:
        _run("find", str(target), "-type", "d", "-exec", "chown", f"{uid}:{uid}", "--", "{}", "+")


def unfreeze(tree: Path, uid: int | None) -> None:
    """Let the owner of a copied tree write its files again."""
    _run("chmod", "-R", "u+w", "--", str(tree), uid=uid)


def copy(source: Path, target: Path, uid: int | None) -> None:
    """Copy what is in `source` into the existing directory `target`, as an account of the host, sharing blocks where
    possible.
    """
    _run("cp", "-a", "--no-preserve=ownership", "--reflink=auto", "--", f"{source}/.", str(target), uid=uid)


def complete(source: Path, target: Path, uid: int | None) -> None:
    """Copy what is in `source` and not yet in the existing directory `target`, as `copy` does: one that was killed is gone on with.

    For trees of our own making, such as an environment, whose copy may take longer than this process lives. What has its
    name in the target is whole: everything is copied beside its place, some entries at a time, and then moved there. Nobody
    else may be at it, not even a copy that has outlived whoever began it: see `alone`.
    """
    places = [Path()]
    while places:
        place = places.pop()
        there, part = target / place, target / place / f".part-{uuid.uuid4().hex}"
        for left in there.glob(".part-*"):
            remove(left)
        with os.scandir(source / place) as found:
            entries = {entry.name: entry.is_dir(follow_symlinks=False) for entry in found}
        if len(place.parts) < _APART:
            for name in [name for name, directory in entries.items() if directory]:
                del entries[name]
                (there / name).mkdir(exist_ok=True)
                _same(source / place / name, there / name, uid)
                places.append(place / name)
        names = sorted(name for name in entries if not os.path.lexists(there / name))
        for start in range(0, len(names), _BATCH):
            part.mkdir(mode=0o700)
            _same(there, part, uid)
            batch = names[start:start + _BATCH]
            _run("cp", "-a", "--no-preserve=ownership", "--reflink=auto", "-t", str(part), "--",
                 *(str(source / place / name) for name in batch), uid=uid)
            for name in batch:
                (part / name).rename(there / name)
            part.rmdir()


def _same(source: Path, directory: Path, uid: int | None) -> None:
    """Give a directory the mode of another, and to an account."""
    directory.chmod(stat.S_IMODE(source.stat().st_mode))
    if uid is not None:
        os.chown(directory, uid, uid)


def discard(directory: Path) -> None:
    """Remove a tree so that nobody sees it half removed; an absent one is no error."""
    try:
        trash = directory.rename(directory.with_name(f".removed-{uuid.uuid4().hex}"))
    except FileNotFoundError:
        return
    remove(trash)


def remove(directory: Path) -> None:
    """Remove a tree whatever modes its directories have; what cannot be removed stays."""
    if os.geteuid() != 0:
        with suppress(NotMoved):
            # Directories only: files may be hard links to those of other trees.
            _run("find", str(directory), "-type", "d", "-exec", "chmod", "u+rwx", "--", "{}", ";")
    with suppress(NotMoved):
        _run("rm", "-rf", "--", str(directory))


def _run(*command: str, uid: int | None = None) -> None:
    done = subprocess.run(
        command, user=uid, group=uid, extra_groups=None if uid is None else [], capture_output=True, check=False,
        stdin=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, pass_fds=held(),
    )  # fmt: skip
    if done.returncode:
        said = "".join(done.stderr.decode(errors="replace").strip().splitlines()[-1:])
        log.warning("files_not_moved", command=command[0], reason=said[-300:])
        why = said.rpartition(": ")[2][-100:]  # before it stands a path, which is nobody's business
        raise NotMoved(f"The files could not be put in their place ({why}).", full=why in _FULL)
