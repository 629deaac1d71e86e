"""The one rule for every connection that is made because a stranger's link asks for it.

A link can name any host, a host name can mean any address, and an answer can redirect anywhere; what must
not happen is that Dockyard reaches for a stranger what only Dockyard can reach: the metadata service of a
cloud, a database on loopback, a printer in the office. So every address of a name is checked, and the
caller connects to the addresses that were checked and to nothing else (a second look-up could answer
differently). The decision, `Rule.refusal`, is pure and has a table of tests; `Rule.check` adds the look-up.

In order, the first that applies decides:

    unspecified, link-local, multicast, reserved, metadata      refused, always
    `egress.refused`, the control plane's own                   refused
    configured forges; `egress.allowed` with a port             allowed
    loopback and this machine's own addresses                   only `fetch`, only with `egress.private`
    `egress.allowed` without a port                             allowed
    any address that is not public                              only with `egress.private`
    a port that is not in `egress.ports`                        refused for `build` and `server`
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Self

from services.egress.addresses import Address, faces, literal, never
from services.egress.places import Place, match, read
from services.egress.resolve import Resolver, normal_host, own_addresses, system_resolver
from services.errors import ForbiddenAddress
from services.settings import EgressSettings

_LOOPBACK = IPv4Address("127.0.0.1")


class Purpose(StrEnum):
    """On whose behalf a connection is made."""

    FETCH = "fetch"  # our own code fetches a repository or asks a forge
    BUILD = "build"  # a repository's code runs while its image is built
    SERVER = "server"  # a repository's code runs in a user's server


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule for one purpose. Made with `make`; immutable; shared by all connections."""

    purpose: Purpose
    private: bool = False
    allowed: tuple[Place, ...] = ()
    refused: tuple[Place, ...] = ()
    ports: frozenset[int] = frozenset()
    trusted: frozenset[tuple[str, int]] = frozenset()
    resolver: Resolver = system_resolver
    own: Callable[[], Collection[Address]] = field(default=own_addresses)

    @classmethod
    def make(
        cls, settings: EgressSettings, purpose: Purpose, trusted: Iterable[tuple[str, int]] = (),
        resolver: Resolver = system_resolver,
    ) -> Self:
        """The rule of `settings` for `purpose`.

        `trusted` are host and port of what the operator has configured as a forge; they may be anywhere but
        where nothing may be. Raises `Misconfigured` for an entry that means nothing.
        """
        return cls(
            purpose=purpose, private=settings.private, allowed=read(settings.allowed, "egress.allowed"),
            refused=read(settings.refused, "egress.refused"), ports=frozenset(settings.ports),
            trusted=frozenset((host.lower(), port) for host, port in trusted), resolver=resolver,
        )

    def refusal(self, address: Address, port: int, host: str = "") -> str | None:
        """Why a connection to this address may not be made, as a sentence; None if it may.

        `host` is the name that led to the address, or "".
        """
        if not 0 < port < 65536:
            return f"{port} is not a port."
        own = self.own()
        for face in faces(address):
            where = f"{host} leads to {address}, which" if host and host != str(address) else f"{address}"
            why = self._refusal(face, port, host, local=face.is_loopback or face in own)
            if why is not None:
                return f"{where} is {why}."
        return None

    def refuse_written(self, host: str, port: int) -> None:
        """Raise `ForbiddenAddress` for a host that is refused as it is written, without a look-up.

        For the moment when a link is read; it does not replace `check`, which knows where a name leads.
        """
        name = normal_host(host)
        address = _LOOPBACK if name == "localhost" or name.endswith(".localhost") else literal(name)
        why = self.refusal(address, port, name) if address is not None else None
        if why is not None:
            raise ForbiddenAddress(why)

    async def check(self, host: str, port: int) -> tuple[Address, ...]:
        """The addresses of `host`, all of them allowed; connect to these and to no others.

        Raises `ForbiddenAddress` if even one is refused (a name with one public and one private address is
        a trick or a mistake), `Unreachable` if there are none.
        """
        name = normal_host(host)
        address = literal(name)
        addresses = tuple(await self.resolver(name, port)) if address is None else (address,)
        for found in addresses:
            why = self.refusal(found, port, name)
            if why is not None:
                raise ForbiddenAddress(why)
        return addresses

    def _refusal(self, address: Address, port: int, host: str, *, local: bool) -> str | None:
        what = never(address)
        if what is not None:
            return f"{what}, and those are never connected to"
        if match(self.refused, host, address, port) or (local and self._refuses_loopback(port)):
            return f"closed to links (port {port})"
        allowed = match(self.allowed, host, address, port)
        if (host, port) in self.trusted or (allowed is not None and allowed.port is not None):
            return None
        if local:
            if self.purpose is Purpose.FETCH and self.private:
                return None
            return "this machine itself, which links and what they start may not reach here"
        if allowed is not None:
            return None
        if not address.is_global and not self.private:
            return "a private address; links may lead to public ones only here"
        if self.purpose is not Purpose.FETCH and self.ports and port not in self.ports:
            return f"reached at port {port}; only {', '.join(map(str, sorted(self.ports)))} may be used here"
        return None

    def _refuses_loopback(self, port: int) -> bool:
        """Whether the control plane listens here on this port; then no address of this machine will do."""
        return any(place.loopback and place.port in (None, port) for place in self.refused)
