"""One at a time in a directory: whoever brings an attempt, or the making of a base, a step on holds its directory meanwhile.

An attempt has two owners at times: one that was paused beyond its lease, or cut off from the database, is in the middle of a
step when the next one begins, and neither may move away what the other is at. The lock is the kernel's (flock) and on the
directory itself, so it ends with whoever holds it. The programs that move and copy trees inherit it: they outlive an owner
that is killed, and would write into what the next one has begun.

A holder that is paused goes on holding. Who takes over waits for a while and then leaves the directory to it: it is discarded,
and the work begins anew under another name. A holder that awakens after that finds nothing where it looks.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

PATIENCE = 120.0  # seconds that a directory may be held by somebody else before it is left to them: a step with big trees takes some
_EVERY = 0.02  # seconds between tries

_held: ContextVar[tuple[int, ...]] = ContextVar("held", default=())


def held() -> tuple[int, ...]:
    """The descriptors that a program has to inherit which works in what is held here."""
    return _held.get()


@contextmanager
def alone(directory: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold a directory during the block; False where somebody else has it, for so many seconds. `FileNotFoundError` without one."""
    deadline = time.monotonic() + seconds
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        ours = _lock(fd, directory)
        while not ours and time.monotonic() < deadline:
            time.sleep(_EVERY)
            ours = _lock(fd, directory)
        token = _held.set((*_held.get(), fd)) if ours else None
        try:
            yield ours
        finally:
            if token is not None:
                _held.reset(token)
    finally:
        os.close(fd)


def _lock(fd: int, directory: Path) -> bool:
    """Whether we have it now, and it is still the one of its name."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    there, here = os.stat(directory, follow_symlinks=False), os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
