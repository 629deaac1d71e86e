"""What an `up` that was killed left running, found again by the next one.

Every child's process id is written to `<home>/run/pids/`, with its start time, for ids are used again. The kernel tells
orphaned children to end (see `child`); here the next `up` waits for those that still do, and kills what does not. Builds
and user servers are not children: they stand under shims of their own and are adopted by worker and hub.
"""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

PATIENCE = 5.0  # seconds that leftovers get to end by themselves


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc_pid_stat(5), field 22); None if it does not run."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if words[0] in "ZX" else int(words[19])


def remember(directory: Path, name: str, pid: int) -> None:
    """Write down a child."""
    part = directory / f".{name}.part"
    part.write_text(json.dumps({"pid": pid, "start": start_time(pid)}))
    part.replace(directory / name)


def forget(directory: Path, name: str) -> None:
    """Cross out a child that has ended."""
    (directory / name).unlink(missing_ok=True)


def running(directory: Path) -> dict[str, int]:
    """The children written down that still run."""
    found = {}
    for path in sorted(directory.glob("[!.]*")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.read_text())
            if told["start"] is not None and start_time(told["pid"]) == told["start"]:
                found[path.name] = int(told["pid"])
    return found


def clean(directory: Path) -> list[str]:
    """End all of them and cross them out; blocks. Returns the names of those that were found running."""
    found = running(directory)
    for pid in found.values():
        _signal(pid, signal.SIGTERM, group=False)
    deadline = time.monotonic() + PATIENCE
    while running(directory) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in running(directory).values():
        _signal(pid, signal.SIGKILL, group=True)
    while running(directory) and time.monotonic() < deadline + 2:
        time.sleep(0.02)
    for path in directory.glob("*"):
        path.unlink(missing_ok=True)
    return list(found)


def _signal(pid: int, number: signal.Signals, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(pid, number)  # every child leads a group of its own
        else:
            os.kill(pid, number)
