"""Lists of places in settings: hosts, networks, and either with a port.

Read once at start, so that a wrong entry is named then and not at the first launch.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from services.egress.addresses import Address, Network
from services.errors import Misconfigured

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class Place:
    """One entry: a name (`*.` matches every name below it) or networks, and a port or all of them."""

    name: str
    networks: tuple[Network, ...]
    port: int | None

    def names(self, host: str) -> bool:
        """Whether this entry is about the host `host`, by name."""
        if self.name.startswith("*."):
            return host.endswith(self.name[1:])
        return bool(self.name) and host == self.name

    def holds(self, address: Address) -> bool:
        """Whether this entry is about `address`."""
        return any(address.version == network.version and address in network for network in self.networks)

    @property
    def loopback(self) -> bool:
        """Whether this entry means the machine itself."""
        return any(network.is_loopback for network in self.networks)


def read(entries: Iterable[str], key: str) -> tuple[Place, ...]:
    """The entries of a setting; raises `Misconfigured` with a sentence that names `key` and the wrong entry.

    Understood: `host`, `host:port`, `*.host`, `address`, `address:port`, `network/length`,
    `network/length:port`, IPv6 with a port in brackets. `localhost` means every loopback address.
    """
    return tuple(_place(entry.strip().lower(), key) for entry in entries)


def match(places: Collection[Place], host: str, address: Address, port: int) -> Place | None:
    """The first entry about this host or address and this port."""
    for place in places:
        if place.port in (None, port) and (place.names(host) or place.holds(address)):
            return place
    return None


def _place(entry: str, key: str) -> Place:
    host, port = _split(entry)
    if port is not None and not 0 < port < 65536:
        raise Misconfigured(f"Setting {key}: {entry!r} has no valid port (1 to 65535).")
    if host == "localhost":
        return Place("localhost", _LOOPBACK, port)
    try:
        return Place("", (ipaddress.ip_network(host),), port)
    except ValueError:
        pass
    if not _NAME.fullmatch(host) or "/" in host:
        raise Misconfigured(
            f"Setting {key}: {entry!r} is not a host, an address or a network, with or without :port "
            "(such as mirror.example.org, 10.1.2.3:8080 or 10.0.0.0/8)."
        )
    return Place(host, (), port)


def _split(entry: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([0-9a-f:./]+)\](?::(\d{1,5}))?", entry)
    if bracketed:
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        if port.isascii() and port.isdigit():
            return host, int(port)
    return entry, None
