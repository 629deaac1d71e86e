"""What may not be reached from the networks of builds and servers: the rules as text, and as an engine's machine obeys them."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator

import pytest

from services.runtimes.docker.engine import Engine
from services.runtimes.docker.wall import Wall, chain, look_up, rules
from services.settings import EgressSettings, Settings, load
from tests.services.runtimes.docker import lab

SUBNETS = ["172.30.0.0/16"]
CHAIN = chain("dockyard-servers")


def first(text: str, address: str, port: int = 443, *, inward: bool = False) -> str:
    """The target of the first rule that a new TCP connection meets."""
    import ipaddress

    for line in text.splitlines():
        words = line.split()
        if words[:2] != ["-A", f"{CHAIN}-IN" if inward else CHAIN] or "conntrack" in words:
            continue
        options = dict(zip(words[2::2], words[3::2], strict=True))
        if "-d" in options and ipaddress.ip_address(address) not in ipaddress.ip_network(options["-d"]):
            continue
        if options.get("--dport", str(port)) == str(port):
            return options["-j"]
    return "RETURN"


@pytest.mark.parametrize(("egress", "address", "port", "outward", "inward"), [
    ({}, "93.184.216.34", 443, "RETURN", "REJECT"),  # public, and an address of this machine in front of the world
    ({}, "169.254.169.254", 80, "REJECT", "REJECT"),
    ({"private": True}, "169.254.169.254", 80, "REJECT", "REJECT"),
    ({}, "10.1.2.3", 443, "REJECT", "REJECT"),
    ({"private": True}, "10.1.2.3", 443, "RETURN", "RETURN"),
    ({}, "172.30.4.5", 8888, "RETURN", "REJECT"),  # its own network
    ({"allowed": ["10.1.0.0/16"]}, "10.1.2.3", 443, "RETURN", "RETURN"),
    ({"allowed": ["10.1.2.3:443"]}, "10.1.2.3", 80, "REJECT", "REJECT"),
    ({"allowed": ["10.1.2.3:443"]}, "10.1.2.3", 443, "RETURN", "RETURN"),
    ({"allowed": ["mirror.example"]}, "10.9.9.9", 443, "RETURN", "RETURN"),
    ({"allowed": ["0.0.0.0/0"], "refused": ["10.1.2.3"]}, "10.1.2.3", 443, "REJECT", "REJECT"),
    ({"allowed": ["0.0.0.0/0"]}, "169.254.169.254", 80, "REJECT", "REJECT"),
    ({"private": True, "refused": ["localhost:8000"]}, "192.168.1.1", 8000, "RETURN", "REJECT"),  # the machine's own port
    ({"ports": [443]}, "93.184.216.34", 80, "REJECT", "REJECT"),
    ({"ports": [443], "private": True}, "93.184.216.34", 443, "RETURN", "RETURN"),
])
def test_where_a_connection_may_go(egress: dict[str, object], address: str, port: int, outward: str, inward: str) -> None:
    text = rules(CHAIN, SUBNETS, EgressSettings(**egress), {"mirror.example": ["10.9.9.9"]})  # type: ignore[arg-type]
    assert first(text, address, port) == outward
    assert first(text, address, port, inward=True) == inward


def test_names_are_looked_up_and_what_is_no_name_is_not() -> None:
    from services.egress.places import read

    assert look_up([*read(["*.example.org", "10.0.0.0/8"], "egress.allowed")]) == {}
    assert len(f"{chain('x' * 60)}-IN") <= 28


@pytest.fixture
async def engine(bench: None) -> AsyncIterator[Engine]:
    found = Engine()
    yield found
    await found.aclose()


def settings(own: str, **more: str) -> Settings:
    return load({
        "DOCKYARD_DOCKER_INSTALLATION": own, "DOCKYARD_DOCKER_BUILD_IMAGE": lab.IMAGE, "DOCKYARD_DOCKER_SERVER_NETWORK": own,
        "DOCKYARD_DOCKER_WALL": "require", **more})


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
async def test_the_machine_is_out_of_reach_unless_it_is_allowed(engine: Engine) -> None:
    own = f"wall-{secrets.token_hex(4)}"
    with socket.create_server((lab.gateway(), 0)) as listener:
        port = listener.getsockname()[1]
        reach = f"import socket; socket.create_connection(('{lab.gateway()}', {port}), 5); print('reached')"

        def asked() -> str:
            return lab.docker("run", "--rm", "--network", own, lab.SMALL, "python3", "-c", reach, check=False)

        closed = settings(own)
        wall = Wall(engine, closed.docker, closed.egress)
        try:
            await wall.network(own)
            assert asked() == ""
            assert lab.walls(lab.IMAGE, own)
            opened = settings(own, DOCKYARD_EGRESS_ALLOWED=f"{lab.gateway()}:{port}")
            await Wall(engine, opened.docker, opened.egress).network(own)
            assert asked() == "reached"
            assert "reached" in lab.docker("run", "--rm", "--network", own, lab.SMALL, "python3", "-c",
                                           "import socket; socket.getaddrinfo('localhost', 80); print('reached')")
        finally:
            await wall.let_go()
    assert own not in lab.docker("network", "ls", "--format", "{{.Name}}")
    assert lab.walls(lab.IMAGE, own) == []
    assert lab.docker("ps", "-aq", "--filter", f"label=dockyard.installation={closed.docker.installation}") == ""


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
async def test_who_makes_a_network_at_the_same_moment_leaves_one(engine: Engine) -> None:
    own = f"wall-{secrets.token_hex(4)}"
    several = [Engine() for _ in range(6)]
    try:
        await asyncio.gather(*[one.network(own, {}, {}) for one in several])
        assert len(await engine.subnets(own) or []) == 1
        assert len(lab.docker("network", "ls", "-q", "--filter", f"name={own}").split()) == 1
    finally:
        await engine.remove_network(own)
        for one in several:
            await one.aclose()
