"""What builds and servers may not connect to: rules of the machine's packet filter for the networks that they are in.

Docker keeps its networks apart from each other, and lets each of them reach all the rest: the metadata service of a cloud, the
machine itself, the networks around it. So each network of ours gets two chains, one for what is sent on (called from
DOCKER-USER, which Docker leaves to us) and one for what is meant for the machine (called from INPUT). They say what
`services.egress` says, as far as addresses can: names in the settings are looked up when the rules are written, `*.` names and
IPv6 (which our networks have not) are left out, and fetching is not told from building.

The rules are written by a container in the machine's own network that runs for a second. Where that cannot be (a rootless engine,
no iptables), `docker.wall` says whether we go on without.
"""

import asyncio
import hashlib
import ipaddress
import json
import secrets
import socket
from collections.abc import Iterator, Mapping

import structlog

from services.egress.addresses import never_networks
from services.egress.places import Place, read
from services.errors import DockyardError, Misconfigured, Unreachable
from services.runtimes.docker.containers import Order
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.order import OURS
from services.settings import DockerSettings, EgressSettings

log = structlog.get_logger()
# Addresses that are somebody's own: RFC 1918, shared address space, benchmarking. What is for documentation leads nowhere.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15")
_PATIENCE = 30.0  # seconds


def chain(network: str) -> str:
    """The name of a network's chain; 28 characters at most."""
    return f"DOCKYARD-{hashlib.sha256(network.encode()).hexdigest()[:10]}"


class Wall:
    """The networks of one installation and the rules around them."""

    def __init__(self, engine: Engine, docker: DockerSettings, egress: EgressSettings) -> None:
        self._engine, self._docker, self._egress = engine, docker, egress
        self._up: set[str] = set()
        self._lock = asyncio.Lock()

    async def network(self, name: str) -> None:
        """Make a network unless there is one, and its rules; once for each process. Raises `Unreachable` where rules are required."""
        async with self._lock:
            if name in self._up and await self._engine.subnets(name) is not None:
                return
            # Containers in it do not reach each other.
            await self._engine.network(name, {OURS: self._docker.installation}, {"com.docker.network.bridge.enable_icc": "false"})
            if self._docker.wall != "off":
                try:
                    await self._write(name)
                except DockyardError as error:
                    if self._docker.wall == "require" or isinstance(error, Misconfigured):
                        raise
                    log.warning("egress_open", network=name, reason=error.sentence)
            self._up.add(name)

    async def _write(self, name: str) -> None:
        subnets = await self._engine.subnets(name) or []
        looked_up = await asyncio.to_thread(look_up, [*read(self._egress.allowed, "egress.allowed"),
                                                      *read(self._egress.refused, "egress.refused")])
        await self._run([{"chain": chain(name), "subnets": subnets, "rules": rules(chain(name), subnets, self._egress, looked_up)}])

    async def let_go(self) -> None:
        """Remove the networks that we have made and all rules."""
        for found in await self._engine.listed("networks", f"{OURS}={self._docker.installation}"):
            await self._engine.remove_network(found["Id"])
        self._up.clear()
        if self._docker.wall != "off":
            try:
                gone = [self._docker.server_network, self._docker.builds_network()]
                await self._run([{"chain": chain(name), "subnets": [], "rules": ""} for name in gone])
            except DockyardError as error:
                log.warning("egress_left", reason=error.sentence)

    async def _run(self, told: list[dict[str, object]]) -> None:
        """Let a container do it, and wait for its end."""
        name = f"dockyard-wall-{secrets.token_hex(6)}"
        await self._engine.create(Order(
            name=name, image=self._docker.build_image, command=("wall", json.dumps(told)), network="host", read_only=True,
            labels=self._docker.further_labels() | {OURS: self._docker.installation}, tmpfs={"/run": "rw,size=1m"},
            security=("no-new-privileges",), capabilities=("NET_ADMIN", "NET_RAW"), memory=128 << 20, log_bytes=1 << 16))
        try:
            await self._engine.start(name)
            await self._engine.wait(name, _PATIENCE)
            found = await self._engine.inspect(name)
            if found is None or not found.ended or found.code:
                words = (await self._engine.last_words(name)).decode("utf-8", "replace").strip()
                raise Unreachable(f"The rules for what builds and servers may connect to cannot be written: {words or 'no reason given'}.")
        finally:
            await self._engine.remove(name)


def look_up(places: list[Place]) -> dict[str, list[str]]:
    """The IPv4 addresses of the names among these."""
    found: dict[str, list[str]] = {}
    for place in places:
        if place.name and not place.name.startswith("*."):
            try:
                answers = socket.getaddrinfo(place.name, None, socket.AF_INET, socket.SOCK_STREAM)
            except OSError:
                log.warning("egress_name_unknown", name=place.name)
                continue
            found[place.name] = sorted({str(answer[4][0]) for answer in answers})
    return found


def rules(name: str, subnets: list[str], egress: EgressSettings, looked_up: Mapping[str, list[str]]) -> str:
    """The two chains, as iptables-restore takes them; `{dns}` stands for where the machine's own resolvers are let through.

    In the order of `services.egress.rule`: what is never reached, what is refused, what is allowed, what is private, ports.
    """
    allowed, refused = read(egress.allowed, "egress.allowed"), read(egress.refused, "egress.refused")
    inward = f"{name}-IN"
    lines = ["*filter", f":{name} - [0:0]", f":{inward} - [0:0]"]
    lines += [f"-A {one} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN" for one in (name, inward)]
    lines += [f"-A {name} -d {subnet} -j RETURN" for subnet in subnets]
    for one in (name, inward):
        lines += [f"-A {one} -d {network} -j REJECT" for network in never_networks() if network.version == 4]
        lines += [f"-A {one} {words} -j REJECT" for words in _matches(refused, looked_up)]
    # An address of the machine itself: its own ports by number, since it has many addresses.
    lines += [f"-A {inward} -p tcp --dport {place.port} -j REJECT" for place in refused if place.loopback and place.port]
    for one in (name, inward):
        lines.append(f"{{dns}} {one}")
        lines += [f"-A {one} {words} -j RETURN" for words in _matches(allowed, looked_up)]
    if not egress.private:
        lines += [f"-A {name} -d {network} -j REJECT" for network in PRIVATE]
        lines.append(f"-A {inward} -j REJECT")
    if egress.ports:
        for one in (name, inward):
            lines += [f"-A {one} -p tcp --dport {port} -j RETURN" for port in egress.ports]
            lines.append(f"-A {one} -p tcp -j REJECT")
    return "\n".join([*lines, "COMMIT", ""])


def _matches(places: tuple[Place, ...], looked_up: Mapping[str, list[str]]) -> Iterator[str]:
    for place in places:
        networks = [str(network) for network in place.networks if network.version == 4 and not network.is_loopback]
        for network in [*networks, *looked_up.get(place.name, [])]:
            if not ipaddress.ip_network(network).is_loopback:
                yield f"-d {network}" + (f" -p tcp --dport {place.port}" if place.port else "")
