"""The system call filter, run through a small interpreter of classic BPF."""

import errno
import struct

import pytest

from services.runtimes.local.seccomp import _AARCH64, _X86_64, assemble, denied

ALLOW, ERROR = 0x7FFF0000, 0x00050000


def run(arch: int, nr: int, *args: int, seen: int | None = None) -> int:
    """What the filter answers to a call with this number and these arguments."""
    data = struct.pack("<IIQ6Q", nr, seen or arch, 0, *(list(args) + [0] * (6 - len(args))))
    program = [struct.unpack("=HBBI", assemble(arch)[at : at + 8]) for at in range(0, len(assemble(arch)), 8)]
    assert len(program) < 4096
    accumulator = at = 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == 0x06:
            return value
        else:
            met = accumulator == value if code == 0x15 else accumulator >= value
            at += yes if met else no


@pytest.mark.parametrize("arch", [_X86_64, _AARCH64])
def test_dangerous_calls_are_denied(arch: int) -> None:
    for name, number in denied(arch).items():
        assert run(arch, number) == ERROR | errno.EPERM, name
    assert {"bpf", "keyctl", "mount", "io_uring_setup", "userfaultfd", "perf_event_open", "setns", "unshare"} <= set(denied(arch))


@pytest.mark.parametrize(("arch", "numbers"), [
    (_X86_64, {"read": 0, "openat": 257, "clone": 56, "clone3": 435, "execve": 59, "mmap": 9, "ptrace": 101, "memfd_create": 319}),
    (_AARCH64, {"read": 63, "openat": 56, "clone": 220, "clone3": 435, "execve": 221, "mmap": 222, "memfd_create": 279}),
])
def test_ordinary_calls_are_not(arch: int, numbers: dict[str, int]) -> None:
    for name, number in numbers.items():
        assert run(arch, number) == ALLOW, name


@pytest.mark.parametrize(("arch", "socket", "ioctl"), [(_X86_64, 41, 16), (_AARCH64, 198, 29)])
def test_sockets_and_terminals(arch: int, socket: int, ioctl: int) -> None:
    for family, allowed in ((1, True), (2, True), (10, True), (16, True), (40, False), (17, False), (38, False), (21, False)):
        assert run(arch, socket, family) == (ALLOW if allowed else ERROR | errno.EAFNOSUPPORT), family
    assert run(arch, ioctl, 0, 0x5412) == ERROR | errno.EPERM  # TIOCSTI types into the terminal of whoever started us
    assert run(arch, ioctl, 0, 0x541C) == ERROR | errno.EPERM
    assert run(arch, ioctl, 0, 0x5413) == ALLOW


def test_calls_of_other_machines_do_not_exist() -> None:
    assert run(_X86_64, 0, seen=0x40000003) == ERROR | errno.ENOSYS  # i386
    assert run(_X86_64, 0x40000000 | 321) == ERROR | errno.ENOSYS  # x32
