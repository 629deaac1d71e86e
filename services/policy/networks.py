"""Addresses and networks of clients: which network an address counts in, and which of many networks holds it.

A client's address is what the front door has found out (see `front.trusted_proxies`). Where there is none, as over a unix socket,
the text stands for itself: it is one client in one network of its own.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Generic, TypeVar

from services.errors import BadRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
V = TypeVar("V")


def address_of(client: str) -> Address | None:
    """A client's address; IPv4 in IPv6's clothes is IPv4. None for what is no address."""
    try:
        found = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


@lru_cache(maxsize=4096)
def network_of(client: str, ipv4: int = 24, ipv6: int = 64) -> str:
    """The network that a client counts in, by the lengths of prefixes: `203.0.113.0/24`, `2001:db8::/64`."""
    address = address_of(client)
    if address is None:
        return client
    return str(ipaddress.ip_network((address, ipv4 if address.version == 4 else ipv6), strict=False))


def read_network(text: str) -> Network:
    """A network or an address as somebody writes it; raises `BadRequest`."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise BadRequest(f'"{text[:60]}" is no network: write 203.0.113.0/24, 2001:db8::/48, or one address.') from error
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.ip_network((mapped, network.prefixlen - 96), strict=False)
    return network


class Networks(Generic[V]):
    """Values by network. A look-up costs one step for each length of prefix there is, however many networks."""

    def __init__(self, entries: Iterable[tuple[Network, V]]) -> None:
        self._tables: dict[tuple[int, int], dict[int, list[V]]] = {}
        for network, value in entries:
            table = self._tables.setdefault((network.version, network.prefixlen), {})
            table.setdefault(int(network.network_address) >> (network.max_prefixlen - network.prefixlen), []).append(value)
        self._lengths = sorted(self._tables, reverse=True)

    def find(self, client: str) -> Iterator[V]:
        """The values of all networks that hold the client, narrowest network first."""
        address = address_of(client) if self._tables else None
        if address is None:
            return
        number = int(address)
        for version, length in self._lengths:
            if version == address.version:
                yield from self._tables[(version, length)].get(number >> (address.max_prefixlen - length), ())
