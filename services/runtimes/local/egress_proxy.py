"""The only way out of a sandbox: an HTTP proxy on unix sockets that obeys the egress rule.

`python -m services.runtimes.local.egress_proxy` listens on three sockets, one for each purpose (fetch, build,
server), which are bound into sandboxes of that kind. It understands CONNECT and plain HTTP requests with an absolute
address; it looks names up itself, checks every address and connects to the checked ones. One request per connection:
a client that wants another opens another, so nothing that follows on an open connection can lead elsewhere.

Who may speak to it is read from the socket (SO_PEERCRED): our own account and the accounts of builds and servers.
Connections are bounded per sandbox and in sum. Addresses are never logged with their path or query. """

import asyncio
import os
import resource
import signal
import socket
import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from services.egress import Purpose, Rule
from services.errors import DockyardError, ForbiddenAddress
from services.observe import configure
from services.runtimes.local.paths import FIRST_UID, UIDS, Paths
from services.settings import EgressSettings, load

HEAD_BYTES = 64 << 10
HEAD_SECONDS = 30.0
CONNECT_SECONDS = 15.0
IDLE_SECONDS = 900.0
LINGER_SECONDS = 30.0  # for a client that does not close after the other side has
PER_SANDBOX = 256
IN_ALL = 4096
CHUNK = 256 << 10
REFUSED = 470  # no registered status: tells our refusal from the other side's 403

_log = structlog.get_logger(__name__)


class Refusal(Exception):
    """The request is answered with a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class EgressProxy:
    """The proxy for one purpose; `open` counts connections by sandbox and is shared by all purposes."""

    def __init__(self, rule: Rule, accounts: range, open_: Counter[str]) -> None:
        self._rule = rule
        self._accounts = accounts
        self.open = open_

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, _ = struct.unpack("3i", peer)
        if uid != os.geteuid() and uid not in self._accounts:
            writer.close()
            return
        sandbox = _sandbox(pid, uid)
        self.open[sandbox] += 1
        try:
            if self.open[sandbox] > PER_SANDBOX or self.open.total() > IN_ALL:
                raise Refusal(429, "Too many connections are open.")
            await self._relay(reader, writer)
        except Refusal as refusal:
            body = f"{refusal.sentence}\n".encode()
            writer.write(
                f"HTTP/1.1 {refusal.status} Refused\r\nContent-Type: text/plain; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # one of the two ends has gone
        finally:
            self.open[sandbox] -= 1
            if not self.open[sandbox]:
                del self.open[sandbox]
            with suppress(OSError):
                writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        host, port, first = parse(head)
        far_reader, far_writer = await self._connect(host, port)
        try:
            if first:
                far_writer.write(first)
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _join(reader, writer, far_reader, far_writer)
        finally:
            far_writer.close()

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            addresses = await self._rule.check(host, port)
        except ForbiddenAddress as error:
            _log.info("egress_refused", purpose=str(self._rule.purpose), host=host[:256], port=port)
            raise Refusal(REFUSED, error.sentence) from error
        except DockyardError as error:
            raise Refusal(502, error.sentence) from error
        for address in addresses:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(str(address), port, limit=CHUNK)
        raise Refusal(504, f"{host} does not answer at port {port}.")


def parse(head: bytes) -> tuple[str, int, bytes]:
    """Host, port and what is sent on (empty for CONNECT) of a request to a proxy; raises `Refusal`. Pure."""
    lines = head[:-4].split(b"\r\n")
    try:
        method, target, version = lines[0].decode("ascii").split(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(version)
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host, port = parts.hostname, parts.port or (80 if method != "CONNECT" else 0)
        if not host or not port or parts.username is not None or (method != "CONNECT" and parts.scheme != "http"):
            raise ValueError(target)
    except ValueError as error:
        raise Refusal(400, "This is a proxy: it takes CONNECT, and requests with an absolute http address.") from error
    if method == "CONNECT":
        return host, port, b""
    path = parts._replace(scheme="", netloc="").geturl() or "/"
    kept = [line for line in lines[1:] if line.split(b":", 1)[0].strip().lower() not in _HOP]
    first = [f"{method} {path} HTTP/1.1".encode(), *kept, b"Connection: close"]
    return host, port, b"\r\n".join(first) + b"\r\n\r\n"


_HOP = frozenset({b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"upgrade"})


async def _join(
    near: asyncio.StreamReader, near_out: asyncio.StreamWriter, far: asyncio.StreamReader, far_out: asyncio.StreamWriter
) -> None:
    """Copy both ways until both have ended, or nothing has come from either side for long."""
    loop = asyncio.get_running_loop()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, after: float) -> None:
        try:
            while data := await source.read(CHUNK):
                bound.reschedule(loop.time() + IDLE_SECONDS)
                target.write(data)
                await target.drain()
            if target.can_write_eof():
                target.write_eof()
            bound.reschedule(loop.time() + after)
        except OSError:  # one end has gone: the other has nobody to talk to
            bound.reschedule(loop.time())

    async with asyncio.timeout(IDLE_SECONDS) as bound, asyncio.TaskGroup() as group:
        group.create_task(copy(near, far_out, IDLE_SECONDS))
        group.create_task(copy(far, near_out, LINGER_SECONDS))


def _sandbox(pid: int, uid: int) -> str:
    """What to count connections by: the sandbox's pid namespace where we may see it, else its account."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return str(uid)


async def serve(
    directory: Path,
    settings: EgressSettings,
    trusted: frozenset[tuple[str, int]] = frozenset(),
    *,
    first_uid: int = FIRST_UID,
) -> list[asyncio.Server]:
    """Listen for all three purposes on `<purpose>/sock` below the directory: a sandbox sees the one directory that is meant for it."""
    accounts, count = range(first_uid, first_uid + UIDS), Counter[str]()
    return [
        await asyncio.start_unix_server(
            EgressProxy(Rule.make(settings, purpose, trusted), accounts, count).handle,
            sock=_listen(directory / purpose / "sock"), limit=HEAD_BYTES,
        )
        for purpose in Purpose
    ]


def _listen(path: Path) -> socket.socket:
    """A unix socket that everybody may connect to; strangers are hung up on."""
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(512)
    return listener


async def main() -> None:
    """Serve until SIGTERM."""
    settings = load()
    configure(settings.log, "egress")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    directory = Paths.of(settings.local, settings.home).egress
    servers = await serve(directory, settings.egress, first_uid=settings.local.uid or FIRST_UID)
    _log.info("egress_ready", directory=str(directory))
    await ended.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
