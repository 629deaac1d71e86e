"""What the watch counts as memory where no control group does."""

import os
import subprocess
import sys

import pytest

from services.runtimes.local.limits import children, resident
from services.runtimes.local.seccomp import _AARCH64, _X86_64, denied

HOLD = 40 << 20
# Each makes `held` in its own way, touches all of it, says so, and waits for the end of its input.
WAYS = {
    "private": "held = bytearray(b'x' * {size})",
    "shared": "import mmap; held = mmap.mmap(-1, {size}); held.write(b'x' * {size})",
    "only open": "import os; held = os.memfd_create('x'); os.write(held, b'x' * {size})",
    "shared with a child": "import mmap, os; held = mmap.mmap(-1, {size}); held.write(b'x' * {size})\n"
    "ready, tell = os.pipe()\npid = os.fork()\nif not pid: sum(held[::4096]); os.write(tell, b'x'); os.read(0, 1); os._exit(0)\n"
    "os.read(ready, 1)",  # a page counts half for each once both have it
    "open in a child too": "import os; held = os.memfd_create('x'); os.write(held, b'x' * {size})\n"
    "pid = os.fork()\nif not pid: os.read(0, 1); os._exit(0)",
}


def counted(program: str) -> int:
    code = f"{program}\nprint(flush=True)\nimport sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        process.stdout.readline()
        total, sizes = resident([process.pid, *children(process.pid)])
        assert max(sizes, key=lambda pid: sizes[pid]) in sizes
        process.stdin.close()
    return total


@pytest.mark.parametrize("way", WAYS)
def test_memory_counts_once_however_it_is_held(way: str) -> None:
    without = counted(WAYS[way].format(size=4096))
    grown = counted(WAYS[way].format(size=HOLD)) - without
    assert HOLD * 0.9 < grown < HOLD * 1.4


def test_a_process_that_has_gone_counts_nothing() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert resident([process.pid]) == (0, {})


def test_segments_that_nobody_has_attached_are_denied_where_nothing_counts_them() -> None:
    for arch in (_X86_64, _AARCH64):
        assert "shmget" not in denied(arch)
        assert "shmget" in denied(arch, segments=False)
    assert os.getpid() in resident([os.getpid()])[1]
