"""Addresses of an embedded Dockyard: its two ports, and what the parts are told about each other.

The control plane is on sockets only. The two listeners are the front door (port P on 127.0.0.1) and the user servers'
proxy (P+1), which browsers call by the name `localhost`: another origin, because it serves strangers' JavaScript.
"""

import asyncio
import errno
import socket
from pathlib import Path

from services.errors import Misconfigured

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-._~")


def socket_url(path: Path) -> str:
    """http+unix://… for a socket; capitals are encoded too, because readers of addresses lower them."""
    return "http+unix://" + "".join(chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in str(path).encode())


def check_port(host: str, port: int, what: str) -> None:
    """`Misconfigured` if somebody else listens there."""
    addresses = {host}
    if host in ("localhost", "127.0.0.1"):
        addresses = {"127.0.0.1", "::1"}  # who holds the other one would get a part of the browsers
    for address in sorted(addresses):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except PermissionError:
            raise Misconfigured(f"Port {port} ({what}) needs privileges: choose one above 1023 with --port.") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Misconfigured(f"Port {port} ({what}) is taken by another program: choose another with --port.") from None
            if family == socket.AF_INET:
                raise Misconfigured(f"Port {port} ({what}) cannot be used on {address}: {error.strerror}.") from None


async def status_of(path: str, *, unix: Path | None = None, host: str = "", port: int = 0) -> int:
    """The HTTP status of a GET, by the plainest means; 0 if there is no answer."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await (
                asyncio.open_unix_connection(str(unix)) if unix else asyncio.open_connection(host, port)
            )
            try:
                name = "localhost" if unix else f"{host}:{port}"
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                words = (await reader.readline()).split()
                return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return 0


async def accepts(unix: Path) -> bool:
    """Whether somebody listens on this socket."""
    try:
        _, writer = await asyncio.open_unix_connection(str(unix))
    except OSError:
        return False
    writer.close()
    return True
