"""User servers that listen on a unix socket, as JupyterHub 6.1 and configurable-http-proxy 5.3 understand them.

A sandboxed server has a network of its own, so the hub and the proxy reach it through a socket in a directory that both
see. JupyterHub takes such a server by its address `http+unix://<quoted path>`, with two gaps that this module closes:

- It reads the host with `urlparse(…).hostname`, which is lower case. A path with capitals would name another file, so
  everything but lower-case letters, digits and `-._~` is percent-encoded; both sides decode it again.
- A server read from the database has a port (80), and `Server.host` then ends in `:80`, which the proxy would take for
  a part of the path. `Server` keeps an address without port in `connect_url`, but only in memory; the property here sets
  it whenever the hub asks for the server, so a restarted hub gives the proxy the same route as before.
"""

from pathlib import Path
from typing import Any

from jupyterhub.spawner import Spawner

SCHEME = "http+unix"
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-._~")


def socket_url(path: Path) -> str:
    """The address of a server on the socket `path`: http+unix://%2frun%2f…, safe against lower-casing."""
    return f"{SCHEME}://" + "".join(chr(b) if b in _PLAIN else f"%{b:02x}" for b in str(path).encode())


class OnUnixSocket:
    """Stands before the Spawner class of a spawner whose server listens on a unix socket."""

    orm_spawner: Any
    user: Any
    get_state: Any

    @property
    def server(self) -> Any:
        """The hub's record of the server, with an address that the proxy can use."""
        server = Spawner.server.fget(self)
        if server is not None and server.proto == SCHEME and not server.connect_url:
            server.connect_url = f"{SCHEME}://{server.ip}"
        return server

    @server.setter
    def server(self, value: Any) -> None:
        Spawner.server.fset(self, value)

    def keep(self, url: str) -> None:
        """Store address and state in the hub's database; called before the server's process is started.

        The hub itself stores both after `start` has returned. Stored before, a hub that is killed in between finds the
        starting server again, waits for it and routes to it, so its launch goes on.
        """
        server = self.server
        server.proto, server.ip, server.port = SCHEME, url.partition("://")[2], 80
        self.orm_spawner.state = self.get_state()
        self.user.db.commit()
