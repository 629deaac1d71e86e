"""The system calls that no build and no server needs, as a filter for the kernel (classic BPF, seccomp(2)).

The list follows what Docker and flatpak deny: calls that open large or old parts of the kernel to a program that has no
business there. What is denied answers EPERM, as if a privilege were missing, so programs fall back; calls of
other ABIs answer ENOSYS. Sockets are limited to unix, IPv4, IPv6 and netlink: vsock, for one, knows no namespaces and
would reach the hypervisor. Where no control group counts memory, `shmget` is denied too: a segment that nobody has attached
is in no process's figures. On a machine whose numbers are not known here there is no filter, and `doctor` says so.
"""

import errno
import platform
import struct
from functools import cache

# audit architecture, then the numbers by name (asm/unistd_64.h; asm-generic/unistd.h for aarch64).
_X86_64 = 0xC000003E
_AARCH64 = 0xC00000B7
_SHARED = {  # one number on both, from Linux 5.1 on
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "quotactl_fd": 443,
}  # fmt: skip
_NUMBERS = {
    _X86_64: _SHARED | {
        "socket": 41, "acct": 163, "add_key": 248, "bpf": 321, "clock_adjtime": 305, "clock_settime": 227,
        "delete_module": 176, "finit_module": 313, "init_module": 175, "ioctl": 16, "kexec_file_load": 320,
        "kexec_load": 246, "keyctl": 250, "lookup_dcookie": 212, "mbind": 237, "migrate_pages": 256, "mount": 165,
        "move_pages": 279, "name_to_handle_at": 303, "nfsservctl": 180, "open_by_handle_at": 304, "perf_event_open": 298,
        "pivot_root": 155, "quotactl": 179, "reboot": 169, "request_key": 249, "setdomainname": 171, "sethostname": 170,
        "setns": 308, "settimeofday": 164, "swapoff": 168, "swapon": 167, "syslog": 103, "umount2": 166, "unshare": 272,
        "userfaultfd": 323, "uselib": 134, "vhangup": 153, "iopl": 172, "ioperm": 173, "modify_ldt": 154,
        "shmget": 29,
    },
    _AARCH64: _SHARED | {
        "socket": 198, "acct": 89, "add_key": 217, "bpf": 280, "clock_adjtime": 266, "clock_settime": 112,
        "delete_module": 106, "finit_module": 273, "init_module": 105, "ioctl": 29, "kexec_file_load": 294,
        "kexec_load": 104, "keyctl": 219, "lookup_dcookie": 18, "mbind": 235, "migrate_pages": 238, "mount": 40,
        "move_pages": 239, "name_to_handle_at": 264, "nfsservctl": 42, "open_by_handle_at": 265, "perf_event_open": 241,
        "pivot_root": 41, "quotactl": 60, "reboot": 142, "request_key": 218, "setdomainname": 162, "sethostname": 161,
        "setns": 268, "settimeofday": 170, "swapoff": 225, "swapon": 224, "syslog": 116, "umount2": 39, "unshare": 97,
        "userfaultfd": 282, "vhangup": 58, "shmget": 194,
    },
}  # fmt: skip
_X32 = 0x40000000
FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24


def machine() -> int | None:
    """The audit architecture of this machine, or None if its numbers are not known here."""
    return {"x86_64": _X86_64, "aarch64": _AARCH64}.get(platform.machine())


@cache
def program(*, segments: bool = True) -> bytes:
    """The filter for this machine as `bwrap --seccomp` reads it; empty where there is none.

    `segments` says whether System V shared memory may be made.
    """
    arch = machine()
    return b"" if arch is None else assemble(arch, segments=segments)


def denied(arch: int, *, segments: bool = True) -> dict[str, int]:
    """The calls that answer EPERM whatever their arguments, with their numbers."""
    looked_at = ("socket", "ioctl", "shmget") if segments else ("socket", "ioctl")
    return {name: nr for name, nr in _NUMBERS[arch].items() if name not in looked_at}


def assemble(arch: int, *, segments: bool = True) -> bytes:
    """The filter for one architecture: straight-line comparisons, each followed by its own return."""
    code: list[tuple[int, int, int, int]] = []

    def answer(value: int) -> tuple[int, int, int, int]:
        return (_RETURN, 0, 0, value)

    code += [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), answer(_ERROR | errno.ENOSYS), (_LOAD, 0, 0, _NR)]
    if arch == _X86_64:
        code += [(_AT_LEAST, 0, 1, _X32), answer(_ERROR | errno.ENOSYS)]
    for nr in denied(arch, segments=segments).values():
        code += [(_EQUAL, 0, 1, nr), answer(_ERROR | errno.EPERM)]
    numbers = _NUMBERS[arch]
    families = [(_EQUAL, len(FAMILIES) - i, 0, family) for i, family in enumerate(FAMILIES)]
    check = [(_LOAD, 0, 0, _ARG0), *families, answer(_ERROR | errno.EAFNOSUPPORT), answer(_ALLOW)]
    code += [(_EQUAL, 0, len(check), numbers["socket"]), *check]
    check = [
        (_LOAD, 0, 0, _ARG1), (_EQUAL, 1, 0, TIOCSTI), (_EQUAL, 0, 1, TIOCLINUX), answer(_ERROR | errno.EPERM),
        answer(_ALLOW),
    ]  # fmt: skip
    code += [(_EQUAL, 0, len(check), numbers["ioctl"]), *check, answer(_ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in code)
