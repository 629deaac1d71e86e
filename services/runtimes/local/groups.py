"""Control groups that killed shims have left: a shim removes its own at its end, and a killed one does not get there."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from services.runtimes.local.limits import PARENT, ROOT, delegated

_AGE = 60  # seconds; a younger one may be about to be entered


def left_groups() -> Iterator[tuple[str, float]]:
    """Groups of any installation on this machine in which nothing runs, each with the time of its making."""
    found = [f"{ROOT}/{controller}/{PARENT}" for controller in ("memory", "pids", "cpu")]
    left = [f"{parent}/{name}" for parent in found if os.path.isdir(parent) for name in os.listdir(parent)]
    left += [f"{parent}/{name}" for parent in delegated() for name in os.listdir(parent) if name.startswith(f"{PARENT}-")]
    for directory in left:
        with suppress(OSError), open(f"{directory}/cgroup.procs") as file:
            made = os.stat(directory).st_ctime
            if not file.read(1) and time.time() - made > _AGE:
                yield directory, made


def remove_group(directory: str) -> None:
    """Remove one; what is in use again by now stays, and the files in a group go with it."""
    with suppress(OSError):
        os.rmdir(directory)


def remove_left_groups() -> None:
    """Remove all of them."""
    for directory, _ in left_groups():
        remove_group(directory)
