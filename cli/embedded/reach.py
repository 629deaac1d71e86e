"""Lets the account read our code where root has put it out of reach, such as in a clone below /root.

The parts without privileges need to read this checkout, its Python environment and the interpreter beneath, and to enter
the home. Where a directory on the way is closed to others, `up` moves into a mount namespace of its own: there an empty
directory that can be passed (not listed) covers the closed one, and every entry of the closed one is bound back in its
place, with its own owner and mode. Nothing changes on the disk or for anybody else. Needs CAP_SYS_ADMIN, as root has it
outside of containers.
"""

import ctypes
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cli.embedded.account import Account, barrier

CLONE_NEWNS = 0x00020000  # linux/sched.h
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2  # linux/mount.h
ENTRIES = 500  # a closed directory with more entries is left closed


def open_way(paths: Iterable[Path], account: Account) -> list[Path]:
    """Make these paths reachable for the account in this process and its future children.

    Returns what is still out of reach. Call it before any thread is started.
    """
    wanted = list(paths)
    closed = {found for path in wanted if (found := barrier(path, account)) is not None}
    try:
        if closed and all(directory.is_dir() for directory in closed):
            libc = ctypes.CDLL(None, use_errno=True)
            _checked(libc.unshare(CLONE_NEWNS))
            _mount(libc, None, Path("/"), None, MS_REC | MS_PRIVATE)
            for _ in range(8):  # what was behind one closed directory may be behind another
                if not closed:
                    break
                for directory in sorted(closed):
                    _cover(libc, directory)
                closed = {found for path in wanted if (found := barrier(path, account)) is not None}
    except OSError:
        pass  # not allowed here: the caller learns what is out of reach
    return [path for path in wanted if barrier(path, account) is not None]


def _cover(libc: ctypes.CDLL, directory: Path) -> None:
    """Put a passable directory with the same entries over a closed one."""
    entries = list(os.scandir(directory))
    if len(entries) > ENTRIES:
        raise OSError(f"{directory} has too many entries")
    stage = Path(tempfile.mkdtemp(prefix="dockyard-"))
    try:
        _mount(libc, str(directory), stage, None, MS_BIND | MS_REC)
        _mount(libc, "tmpfs", directory, "tmpfs", 0, "mode=0711,size=16m")
        for entry in entries:
            target, source = directory / entry.name, stage / entry.name
            if entry.is_symlink():
                target.symlink_to(source.readlink())
                continue
            if entry.is_dir():
                target.mkdir()
            else:
                target.touch()
            _mount(libc, str(source), target, None, MS_BIND | MS_REC)
        _checked(libc.umount2(os.fsencode(stage), MNT_DETACH))
    finally:
        stage.rmdir()


def _mount(libc: ctypes.CDLL, source: str | None, target: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _checked(libc.mount(*words, ctypes.c_ulong(flags), None if data is None else data.encode()))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
