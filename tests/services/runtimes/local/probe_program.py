"""Runs inside a sandbox and tells what it can see and do, as JSON. Standard library only; see `test_capabilities`."""

import ctypes
import json
import os
import socket
import sys


def attempt(call, *args):  # type: ignore[no-untyped-def]
    try:
        call(*args)
    except OSError as error:
        return error.strerror
    except ValueError as error:
        return str(error)
    return "done"


def reach(family, address):  # type: ignore[no-untyped-def]
    try:
        with socket.socket(family) as sock:
            sock.settimeout(3)
            sock.connect(address)
    except OSError as error:
        return error.strerror or str(error)
    return "connected"


def through_proxy(target):  # type: ignore[no-untyped-def]
    """What the egress proxy answers to CONNECT."""
    try:
        with socket.create_connection(("127.0.0.1", 3128), 60) as sock:
            sock.settimeout(60)
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            return sock.recv(4096).split(b"\r\n")[0].decode()
    except OSError as error:
        return str(error)


def status():  # type: ignore[no-untyped-def]
    with open("/proc/self/status") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {name: lines[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid")}


def readable(path):  # type: ignore[no-untyped-def]
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return error.strerror


def writable(top):  # type: ignore[no-untyped-def]
    """Directories below `top`, two levels deep, where a file can be made."""
    found = []
    for directory, names, _ in os.walk(top):
        depth = directory.rstrip("/").count("/")
        names[:] = [name for name in names if depth < 2 and os.path.join(directory, name) not in ("/proc", "/usr")]
        path = os.path.join(directory, ".probe")
        if attempt(lambda path=path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY))) == "done":
            os.unlink(path)
            found.append(directory)
    return sorted(found)


def sockets():  # type: ignore[no-untyped-def]
    """All unix sockets that can be found by name."""
    found = []
    for top in ("/run", "/tmp", "/var", "/home", "/srv", "/dev", "/etc"):
        for directory, _, names in os.walk(top):
            found += [os.path.join(directory, name) for name in names if _is_socket(os.path.join(directory, name))]
    return sorted(found)


def _is_socket(path):  # type: ignore[no-untyped-def]
    try:
        return (os.lstat(path).st_mode & 0o170000) == 0o140000
    except OSError:
        return False


libc = ctypes.CDLL(None, use_errno=True)


def syscall(name, *args):  # type: ignore[no-untyped-def]
    numbers = {"keyctl": 250, "bpf": 321, "io_uring_setup": 425, "userfaultfd": 323, "perf_event_open": 298, "mount": 165, "setns": 308}
    ctypes.set_errno(0)
    result = libc.syscall(numbers[name], *args)
    return "done" if result >= 0 else os.strerror(ctypes.get_errno())


def text(path):  # type: ignore[no-untyped-def]
    with open(path) as file:
        return file.read()


told = {
    "status": status(),
    "environment": dict(os.environ),
    "root": readable("/"),
    "etc": readable("/etc"),
    "home": readable("/home"),
    "run": readable("/run"),
    "srv": readable("/srv"),
    "dev": readable("/dev"),
    "processes": [text(f"/proc/{pid}/cmdline").split("\0")[0].rsplit("/", 1)[-1] for pid in os.listdir("/proc") if pid.isdigit()],
    "mounts": sorted({line.split()[1] for line in text("/proc/mounts").splitlines()}),
    "accounts": [line.split(":")[0] for line in text("/etc/passwd").splitlines()],
    "interfaces": [line.split(":")[0].strip() for line in text("/proc/net/dev").splitlines() if ":" in line],
    "writable": writable("/"),
    "sockets": sockets(),
    "abstract": [line.split()[-1] for line in text("/proc/net/unix").splitlines() if "@" in line],
    "hidden": {path: os.path.exists(path) for path in sys.argv[2:]},
    "loopback": reach(socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))),
    "outside": reach(socket.AF_INET, ("192.0.2.1", 80)),
    "vsock": attempt(lambda: socket.socket(40).close()),
    "packet": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()),
    "proxy loopback": through_proxy(f"127.0.0.1:{sys.argv[1]}"),
    "proxy metadata": through_proxy("169.254.169.254:80"),
    "proxy localhost": through_proxy(f"localhost:{sys.argv[1]}"),
    "userns": attempt(lambda: os.unshare(0x10000000)) if hasattr(os, "unshare") else syscall("setns", 0, 0),
    "setuid": attempt(os.setuid, 0),
    "chroot": attempt(os.chroot, "/tmp"),
    "mknod": attempt(os.mknod, "/tmp/device", 0o60600, os.makedev(8, 0)),
    "calls": {name: syscall(name, 0, 0, 0, 0, 0) for name in ("keyctl", "bpf", "io_uring_setup", "perf_event_open", "mount")},
    "venv": attempt(lambda: os.close(os.open("/srv/venv/probe", os.O_CREAT | os.O_WRONLY))),
}
print("PROBE" + json.dumps(told))
