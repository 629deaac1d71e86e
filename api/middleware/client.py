"""Who the client really is, when proxies stand in between.

Anybody may write `X-Forwarded-For`; the entry that counts is the last one that was not written by a proxy
of ours. So the list is read from the right, past the trusted networks, and only if the peer itself is
trusted. The same proxies may say which scheme and host the browser used. `X-Real-Ip` and `Forwarded` are
not read: one header has one meaning.
"""

import ipaddress
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from services.errors import Misconfigured

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks of `front.trusted_proxies`; raises `Misconfigured` for what is none."""
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise Misconfigured(f"Setting front.trusted_proxies: {error}.") from error


def address(text: str) -> Address | None:
    """An address as peers and proxies write it: with or without brackets and port; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The client's address: the rightmost one in `peer` and `X-Forwarded-For` that is not a trusted proxy.

    Where everybody is trusted, the leftmost; where an entry is no address, the last one before it.
    """
    last = address(peer)
    if last is None:
        return peer
    for text in reversed(forwarded.split(",")):
        if not any(last in network for network in trusted):
            break
        found = address(text)
        if found is None:
            break
        last = found
    return str(last)


class TrustedProxies:
    """Sets the scope's client, scheme and host to what trusted proxies say; leaves them alone for others."""

    def __init__(self, app: ASGIApp, trusted: Sequence[str] = ()) -> None:
        self.app = app
        self.trusted = networks(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its real client."""
        if self.trusted and scope["type"] in ("http", "websocket") and scope.get("client"):
            peer = address(scope["client"][0])
            if peer is not None and any(peer in network for network in self.trusted):
                scope = self._forwarded(scope)
        await self.app(scope, receive, send)

    def _forwarded(self, scope: Scope) -> Scope:
        said: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name.startswith(b"x-forwarded-"):
                said.setdefault(name, []).append(value)
        host, port = scope["client"]
        chain = b",".join(said.get(b"x-forwarded-for", [])).decode("latin-1")
        changed = {**scope, "client": (client_address(host, chain, self.trusted), port)}
        scheme = _last(said, b"x-forwarded-proto").lower()
        if scheme in ("http", "https"):
            changed["scheme"] = scheme
        if name := _last(said, b"x-forwarded-host"):
            others = [(key, value) for key, value in scope["headers"] if key != b"host"]
            changed["headers"] = [(b"host", name.encode("latin-1")), *others]
        return changed


def _last(said: dict[bytes, list[bytes]], name: bytes) -> str:
    """What the nearest proxy wrote: the last entry."""
    values = said.get(name)
    return values[-1].decode("latin-1").rpartition(",")[2].strip() if values else ""
