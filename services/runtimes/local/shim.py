"""The shim: runs one sandbox detached from whoever started it, and leaves its whole story in files.

`python -I -S shim.py DIRECTORY` reads `DIRECTORY/spec.json`, leaves the caller's session, and then stands alone:
worker and hub may die and come back, they find `lock` (held while the shim lives), `pid` (pid and start time) and, at
the end, `exit`. It enforces what the caller could not while it is away: the deadline, the time without output, the
size of the log, memory and disk. Standard library only, one thread, no network, so that it can keep root where the
caller has root (it needs it to change the uid and to make control groups) and so that it costs a few megabytes.

If the shim itself is killed, bubblewrap dies with it (`--die-with-parent`) and everything in the sandbox with
bubblewrap. """

import ctypes
import fcntl
import json
import os
import selectors
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.runtimes.local import limits as bounds
else:  # The program runs isolated: its own folder has to be named first.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import limits as bounds

TICK = 0.5
FLOOD = 16  # a log that reaches this many times its limit ends the sandbox


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat)."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def write(name: str, value: object) -> None:
    """Write a file of the story so that it is either whole or absent."""
    with open(f".{name}", "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f".{name}", name)


def memory_file(name: str, data: bytes) -> int:
    """A file descriptor that a child may inherit and read from the start."""
    fd = os.memfd_create(name, 0)
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class Shim:
    """The life of one sandbox."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.limits: dict[str, Any] = spec["limits"]
        self.started = self.heard = time.monotonic()
        self.reason = ""
        self.kill_at = 0.0
        self.memory_kills = 0
        self.disk_at = 0.0
        self.log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.written = self.received = os.fstat(self.log).st_size  # runs of one build share a log
        self.cut = False
        self.last = b"\n"
        self.init = 0  # first process of the sandbox, by the host's numbering
        self.group = bounds.make_group(
            spec["name"], memory=self.limits["memory"], processes=self.limits["processes"], cpus=self.limits["cpus"]
        )

    def spawn(self) -> None:
        """Start bubblewrap with its options, the seccomp filter and a pipe for the output."""
        spec = self.spec
        args = memory_file("options", b"".join(item.encode() + b"\0" for item in spec["options"]))
        program = spec["seccomp" if self.group.memory or not self.limits["memory"] else "seccomp_uncounted"]
        seccomp = memory_file("seccomp", bytes.fromhex(program)) if program else -1
        self.output, output = os.pipe()
        self.status, status = os.pipe()
        argv = [spec["bwrap"], "--args", str(args), "--json-status-fd", str(status)]
        argv += ["--seccomp", str(seccomp)] if seccomp >= 0 else []
        argv += ["--", *spec["command"]]
        self.child = os.fork()
        if not self.child:
            try:
                self.become(argv, output, [fd for fd in (args, seccomp, status) if fd >= 0])
            except BaseException as error:  # noqa: BLE001 - the forked copy must never return into the loop
                os.write(output, f"The sandbox could not be started: {error}\n".encode())
            os._exit(125)
        for fd in (args, seccomp, output, status):
            if fd >= 0:
                os.close(fd)
        os.set_blocking(self.output, False)
        os.set_blocking(self.status, False)

    def become(self, argv: list[str], output: int, keep: list[int]) -> None:
        """In the forked child: take the limits, give up the account, become bubblewrap."""
        self.group.enter()
        bounds.apply_rlimits(
            data=0 if self.group.memory else 2 * self.limits["memory"], files=self.limits["files"],
            file_bytes=self.limits["file_bytes"], cpu_seconds=self.limits["cpu_seconds"],
        )  # fmt: skip
        os.nice(self.spec["nice"])
        os.dup2(output, 1)
        os.dup2(output, 2)
        for fd in keep:
            os.set_inheritable(fd, True)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        uid = self.spec["uid"]
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        os.umask(0o022)
        os.chdir("/")
        os.execve(argv[0], argv, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})  # noqa: S606

    def take(self) -> bool:
        """Move output into the log, up to its limit; False at its end."""
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        self.heard = time.monotonic()
        self.received += len(data)
        room = self.limits["log_bytes"] - self.written
        if self.limits["log_bytes"] and len(data) > room:
            data, cut, self.cut = data[: max(0, room)], not self.cut, True
            if cut:
                data += b"" if (data or self.last)[-1:] == b"\n" else b"\n"
                data += f"The log is longer than {self.limits['log_bytes']:,} bytes; the rest is left out.\n".encode()
            if self.received > FLOOD * self.limits["log_bytes"]:
                self.end("flood")
        if data:
            os.write(self.log, data)
            self.written += len(data)
            self.last = data[-1:]
        return True

    def look(self) -> None:
        """Twice a second: time, memory, disk."""
        now, limits = time.monotonic(), self.limits
        if self.kill_at and now >= self.kill_at:
            self.kill()
        if limits["seconds"] and now - self.started > limits["seconds"]:
            self.end("deadline")
        if limits["idle"] and now - self.heard > limits["idle"]:
            self.end("idle")
        if limits["memory"] and not self.group.memory:
            total, sizes = bounds.resident(bounds.descendants(self.child))
            if total > limits["memory"] and sizes:
                self.memory_kills += 1
                with suppress(OSError):
                    os.kill(max(sizes, key=lambda pid: sizes[pid]), signal.SIGKILL)
        if now >= self.disk_at:
            free = os.statvfs(self.spec["log"].rpartition("/")[0])
            if free.f_bavail * free.f_frsize < limits["free_bytes"]:
                self.end("full")
            if limits["disk_bytes"] and bounds.tree_bytes(self.spec["disk"]) > limits["disk_bytes"]:
                self.end("disk")
            # A walk may take long in a big tree: it gets a twentieth of the time at most.
            self.disk_at = time.monotonic() + max(TICK, 20 * (time.monotonic() - now))

    def end(self, reason: str) -> None:
        """Ask the sandbox to end, and set the time when it is made to."""
        if self.reason:
            return
        self.reason = reason
        grace = self.limits["grace"] if reason == "stopped" else 0
        self.kill_at = time.monotonic() + grace
        if not grace:
            self.kill()
        for pid in bounds.children(self.init) if self.init else []:
            with suppress(OSError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill everything: the first process takes its whole pid namespace along."""
        for pid in filter(None, (self.init, self.child)):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.group.kill()

    def run(self) -> None:
        """Follow the sandbox until nothing of it is left, then write `exit`."""
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans of the sandbox become ours
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.end("stopped"))
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        self.spawn()
        selector = selectors.DefaultSelector()
        for fd in (self.output, self.status, wake):
            selector.register(fd, selectors.EVENT_READ)
        story, code, done = b"", None, 0.0
        while code is None or (self.output in selector.get_map() and time.monotonic() < done):
            for key, _ in selector.select(TICK):
                if key.fd == self.output:
                    if not self.take():
                        selector.unregister(self.output)
                elif key.fd == self.status:
                    data = os.read(self.status, 1 << 16)
                    story += data
                    if not data:
                        selector.unregister(self.status)
                    if not self.init and b"\n" in story:  # bubblewrap writes the line in pieces
                        self.init = int(json.loads(story.splitlines()[0])["child-pid"])
                else:
                    os.read(wake, 1 << 10)
            if code is None:
                code = self.reap()
                done = time.monotonic() + 2
            self.look()
        self.conclude(code, began=b"exit-code" in story)

    def reap(self) -> int | None:
        """Collect whatever has died; the status of bubblewrap if it was among them."""
        code = None
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == self.child:
                    code = os.waitstatus_to_exitcode(status)
                if not pid:
                    break
        return code

    def conclude(self, code: int, *, began: bool) -> None:
        """Clean up and write how it ended."""
        until = time.monotonic() + 2
        while self.init and os.path.exists(f"/proc/{self.init}") and time.monotonic() < until:
            self.reap()
            time.sleep(0.002)
        if self.last != b"\n":
            os.write(self.log, b"\n")
        self.group.kill()
        if not self.reason and code != 0:
            if self.memory_kills + self.group.out_of_memory():
                self.reason = "memory"
            elif not began:
                self.reason = "sandbox"
        refused = self.group.out_of_processes()
        self.group.remove()
        write("exit", {"code": code, "reason": self.reason, "refused": refused, "ended": time.time()})


def main(directory: str) -> None:
    """Leave the caller's session, tell it that `pid` is there, and run."""
    os.chdir(directory)
    lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os.read(ready, 1)
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if os.path.exists("pid"):
        return  # it has run before
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open("errors", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for fd, target in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(fd, target)
    with open("spec.json") as file:
        shim = Shim(json.load(file))
    write("pid", {"pid": os.getpid(), "started": start_time(os.getpid()), "at": time.time()})
    os.write(tell, b"1")
    os.close(tell)
    shim.run()


if __name__ == "__main__":
    main(sys.argv[1])
