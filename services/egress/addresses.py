"""Which kind of place an IP address is.

Pure. The question behind it: if a stranger makes us connect to this address, whose machine answers? The
standard library knows the registries' special networks; it does not know where clouds keep their
credentials, nor that an IPv6 address may carry an IPv4 address which a gateway will unpack.
"""

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Never reached, whatever the settings say, with the words for it.
_NEVER: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "an unspecified address"),
        ("::/128", "an unspecified address"),
        ("169.254.0.0/16", "a link-local address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("224.0.0.0/4", "a multicast address"),
        ("ff00::/8", "a multicast address"),
        ("240.0.0.0/4", "a reserved or broadcast address"),
        # Metadata services outside of the link-local networks: Alibaba, Oracle, Azure, EC2, Google.
        ("100.100.100.200/32", "a cloud's metadata address"),
        ("192.0.0.192/32", "a cloud's metadata address"),
        ("168.63.129.16/32", "a cloud's metadata address"),
        ("fd00:ec2::254/128", "a cloud's metadata address"),
        ("fd20:ce::254/128", "a cloud's metadata address"),
    )
)

# IPv6 networks whose last 32 bits are an IPv4 address (NAT64 of RFC 6052 and RFC 8215, IPv4-compatible of
# RFC 4291, IPv4-translated of RFC 2765).
_CARRY_LAST = tuple(IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"))


def literal(host: str) -> Address | None:
    """The address that a host written as one means, in its ordinary form only; None for a name."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def faces(address: Address) -> Iterator[Address]:
    """Every address where a packet to `address` may end: itself, and what is embedded in it.

    An IPv4-mapped address is nothing but the IPv4 address, so only that is given.
    """
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    if int(address) > 1 and any(address in network for network in _CARRY_LAST):
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if (int(address) >> 32) & 0xFCFFFFFF == 0x00005EFE:  # ISATAP, RFC 5214
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def never_networks() -> tuple[Network, ...]:
    """The networks that are never reached."""
    return tuple(network for network, _ in _NEVER)


def never(address: Address) -> str | None:
    """What this address is, in words, if it may never be reached."""
    for network, what in _NEVER:
        if address.version == network.version and address in network:
            return what
    return None
