"""Ports of loopback that are found here and listened at later, by whatever process, with nobody else getting them in between.

A socket that is bound and does not listen keeps its port from all who ask the kernel for any free one, and from nobody who binds it by
its number, with SO_REUSEADDR, as every server here does. So a port stays its finder's for as long as this process lives; until
somebody listens there, connections are refused.
"""

import contextlib
import socket

_held: list[socket.socket] = []


def free_port(address: str = "127.0.0.1") -> int:
    """One that nobody else is given."""
    return _hold(address, 0)


def free_ports() -> int:
    """The same, together with the one behind it."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError, OverflowError):
            return _hold("127.0.0.1", port + 1) - 1


def _hold(address: str, port: int) -> int:
    found = socket.socket()
    try:
        found.bind((address, port))  # without the option, so that a port which anybody has is refused
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except BaseException:
        found.close()
        raise
    _held.append(found)
    return int(found.getsockname()[1])
