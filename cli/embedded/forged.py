"""The process behind `forge`: `python -m cli.embedded.forged SOCKET MODULE ...` imports the modules, then forks on request.

It has one thread and no event loop, so that forking is safe. A module that cannot be imported is left to the part that needs
it, which then says why. A fork becomes `python -m MODULE` in everything that can be seen: session, account, environment,
output, command line.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from cli.embedded.child import dies_with_us
from cli.embedded.forge import PACKET


def serve(path: Path) -> list[str]:
    """Fork on request until the supervisor goes; returns, in the forked process alone, what it shall run."""
    waker, wake = socket.socketpair()
    for end in (waker, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(1)
        control, _ = listener.accept()
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(waker, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is waker:
                with contextlib.suppress(BlockingIOError):
                    waker.recv(4096)
                reap(control)
                continue
            data, files, _, _ = socket.recv_fds(control, PACKET, 1)
            if not data:
                sys.exit(0)
            request, parent = json.loads(data), os.getpid()
            pid = os.fork()
            if pid:
                os.close(files[0])
                control.send(json.dumps({"pid": pid}).encode())
                continue
            signal.set_wakeup_fd(-1)
            for thing in (selector, control, waker, wake):
                thing.close()
            become(request, files[0], parent)
            words: list[str] = request["words"]
            return words


def reap(control: socket.socket) -> None:
    """Tell of every child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with contextlib.suppress(OSError):
                control.send(json.dumps({"pid": ended[0], "status": ended[1]}).encode())


def become(request: dict[str, Any], output: int, parent: int) -> None:
    """In the fork: take the session, account, environment and output of the part."""
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    with open(os.devnull) as null:
        os.dup2(null.fileno(), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.umask(0o022)
    if request["uid"] is not None:
        os.setgroups([])
        os.setgid(request["gid"])
        os.setuid(request["uid"])
    os.chdir(request["cwd"])
    if arrange := dies_with_us(signal.Signals(request["signal"]), parent):
        arrange()
    os.environ.clear()
    os.environ.update(request["environ"])
    rename(f"{sys.executable} -P -m {' '.join(request['words'])}")


def rename(title: str) -> None:
    """Make the command line say what this process is, for ps and those who look for it there (Linux).

    The kernel shows the memory of the arguments up to the first zero byte if the last byte is not zero (proc_pid_cmdline(5)).
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        text = os.fsencode(title)[: end - start - 2]
        ctypes.memmove(start, text + bytes(end - start - 1 - len(text)) + b".", end - start)


def main() -> None:
    """Import, serve, and in a fork run the part as if it had been started by itself."""
    for name in sys.argv[2:]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # keeps the collector from writing to, and thereby copying, what is shared
    sys.argv = serve(Path(sys.argv[1]))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
