"""The first program in every sandbox: joins it to the egress proxy, then runs what the sandbox is for.

    inside.py LIMIT exec COMMAND…      run a command (a server, a postBuild)
    inside.py LIMIT step NAME          run one of our own steps (`steps/NAME.py`), without another interpreter's start
    inside.py connect HOST PORT        what GIT_PROXY_COMMAND runs for git:// addresses

The sandbox has a network of its own with nothing in it. A forwarder on 127.0.0.1:3128, named by the proxy variables,
hands every connection to the socket of the egress proxy, which stands outside and decides. LIMIT is the number of
processes and threads; it is set here because the count of RLIMIT_NPROC begins at zero in the sandbox's own user
namespace.

Standard library only, one thread; nothing here guards anything: the sandbox's program may kill it and talk to the
socket itself, and gets no further than the egress proxy lets it. """

import os
import resource
import selectors
import signal
import socket
import sys
from contextlib import suppress

EGRESS = "/run/egress/sock"
PORT = 3128
CHUNK = 1 << 16


class Pipe:
    """One direction of a connection: what is read here is written there, with a bounded buffer between."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.buffer = b""
        self.ended = False  # the source has no more
        self.closed = False  # the target knows it


class Forwarder:
    """Joins connections on 127.0.0.1:3128 to the egress socket, in one thread."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", PORT), backlog=128)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)

    def serve(self, wake: int) -> None:
        """Forward until a signal has arrived."""
        self.selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, events in self.selector.select():
                if key.fd == wake:
                    os.read(wake, 1 << 10)
                    return
                if key.fileobj is self.listener:
                    self._accept()
                elif key.data is not None:
                    reads, writes = key.data
                    if reads.source.fileno() >= 0:
                        self._move(reads, writes, events)

    def _accept(self) -> None:
        try:
            near, _ = self.listener.accept()
        except OSError:
            return
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(EGRESS)
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setblocking(False)
        out, back = Pipe(near, far), Pipe(far, near)
        self.selector.register(near, selectors.EVENT_READ, (out, back))
        self.selector.register(far, selectors.EVENT_READ, (back, out))

    def _move(self, reads: Pipe, writes: Pipe, events: int) -> None:
        """`reads` starts at the ready socket, `writes` ends there."""
        try:
            if events & selectors.EVENT_READ and not reads.ended and not reads.buffer:
                with suppress(BlockingIOError):
                    reads.buffer = reads.source.recv(CHUNK)
                    reads.ended = not reads.buffer
            for pipe in (reads, writes):
                if pipe.buffer:
                    with suppress(BlockingIOError):
                        pipe.buffer = pipe.buffer[pipe.target.send(pipe.buffer) :]
                if pipe.ended and not pipe.buffer and not pipe.closed:
                    pipe.closed = True
                    with suppress(OSError):
                        pipe.target.shutdown(socket.SHUT_WR)
        except OSError:
            reads.closed = writes.closed = True
        if reads.closed and writes.closed:
            for end in (reads.source, reads.target):
                with suppress(KeyError):
                    self.selector.unregister(end)
                end.close()
            return
        self._wait_for(reads.source, reads, writes)
        self._wait_for(reads.target, writes, reads)

    def _wait_for(self, end: socket.socket, reads: Pipe, writes: Pipe) -> None:
        events = selectors.EVENT_READ if not reads.ended and not reads.buffer else 0
        events |= selectors.EVENT_WRITE if writes.buffer else 0
        if events == 0:  # a selector cannot wait for nothing: a closed peer still shows as readable
            with suppress(KeyError):
                self.selector.unregister(end)
        elif end.fileno() in self.selector.get_map():
            self.selector.modify(end, events, (reads, writes))
        else:
            self.selector.register(end, events, (reads, writes))


def run(words: list[str]) -> int:
    """Start the forwarder and the command; the status of the command."""
    limit, kind, *command = words
    if int(limit):
        # Our own thread and that of the sandbox's first process count too.
        resource.setrlimit(resource.RLIMIT_NPROC, (int(limit) + 2, int(limit) + 2))
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    forwarder = Forwarder() if os.path.exists(EGRESS) else None
    child = os.fork()
    if not child:
        return begin(kind, command)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    while True:
        with suppress(ChildProcessError):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        if forwarder:
            forwarder.serve(wake)
        else:
            os.read(wake, 1 << 10)


def begin(kind: str, command: list[str]) -> int:
    """In the child: become the command, or run the step here."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    if kind == "step":
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        return int(__import__(f"steps.{command[0]}", fromlist=["main"]).main())
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        print(f"{command[0]} could not be started: {error.strerror}.", file=sys.stderr)
        return 127


def connect(host: str, port: str) -> int:
    """Speak to host and port through the egress proxy, over standard input and output."""
    proxy = socket.socket(socket.AF_UNIX)
    proxy.connect(EGRESS)
    proxy.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        data = proxy.recv(1)
        if not data:
            break
        head += data
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        print(head.partition(b"\r\n\r\n")[0].decode(errors="replace"), file=sys.stderr)
        return 1
    if not os.fork():
        while data := os.read(0, CHUNK):
            proxy.sendall(data)
        proxy.shutdown(socket.SHUT_WR)
        return 0
    while data := proxy.recv(CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
    return 0


if __name__ == "__main__":
    sys.exit(connect(*sys.argv[2:4]) if sys.argv[1] == "connect" else run(sys.argv[1:]))
