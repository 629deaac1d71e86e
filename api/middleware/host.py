"""The Host check: this server answers only to its own names.

A page of a stranger's domain whose name has been re-pointed to 127.0.0.1 (DNS rebinding) is same-origin
with us in the browser's eyes; only the Host header still shows the foreign name. A request with such a Host
gets one refusal and reaches nothing.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
# Supervisors ask by address, not by name, and learn nothing here but yes or no. Where other names than loopback's are
# configured, load balancers and Prometheus do so too.
_PROBES = frozenset({"/livez", "/readyz"})
_PROBES_OF_A_SERVICE = _PROBES | {"/health", "/metrics"}
_SENTENCE = "This server does not answer to that host name. An administrator can allow it with front.hosts.\n"


def split_host(text: str, scheme: str) -> tuple[str, int | None]:
    """Name (lower case, IPv6 in brackets) and port of a Host header; without a port, the scheme's own.

    The port is None where it is no number.
    """
    text = text.strip().lower()
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, port = text, ""
    if not port:
        return name.rstrip("."), _DEFAULT_PORTS.get(scheme)
    return name.rstrip("."), int(port) if port.isascii() and port.isdecimal() else None


class HostCheck:
    """Refuses (421) what is addressed to another name."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = (), port: int = 0, public_url: str = "") -> None:
        self.app = app
        self.any = "*" in hosts
        self.port = port  # 0: the port that the server really listens on
        self.names = frozenset(name.strip().lower() for name in (*hosts, urlsplit(public_url).netloc) if name)
        self.loopback = not hosts
        self.probes = _PROBES_OF_A_SERVICE if hosts else _PROBES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its Host is one of ours."""
        asked = scope["type"] in ("http", "websocket") and not self.any and scope["path"] not in self.probes
        if not asked or self._is_ours(scope):
            await self.app(scope, receive, send)
            return
        await PlainTextResponse(_SENTENCE, 421)(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        found = [value for name, value in scope["headers"] if name == b"host"]
        if len(found) != 1:
            return False
        text = found[0].decode("latin-1")
        name, port = split_host(text, scope["scheme"])
        if name in self.names or f"{name}:{port}" in self.names:
            return True
        own = self.port or (scope.get("server") or ("", None))[1]
        return self.loopback and name in LOOPBACK and port == own
