"""How much a directory holds, told again and again, for a worker that watches a build from outside.

Runs in a container of its own that shares the build's volume, so nothing that the build does can silence it.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

LONGEST = 5.0  # seconds between two looks


def tell(place: Path) -> None:
    """Print bytes, one number a line, until killed."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        began = time.monotonic()
        print(measure(place), flush=True)
        time.sleep(min(LONGEST, max(1.0, 4 * (time.monotonic() - began))))


def measure(place: Path) -> int:
    """Bytes on disk; a file with many names counts once, holes do not count."""
    total, seen, below = 0, set[int](), [str(place)]
    while below:
        with contextlib.suppress(OSError), os.scandir(below.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if found.st_ino in seen:
                            continue
                        seen.add(found.st_ino)
                    total += found.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False) and entry.name != "merged":  # a mount of an overlay: counted below it
                        below.append(entry.path)
    return total
