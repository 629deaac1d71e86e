"""The rule as a table: which address, for which purpose, under which settings."""

import ipaddress

import pytest

from services.egress import Purpose, Rule
from services.egress.addresses import Address, faces
from services.errors import ForbiddenAddress, Misconfigured, Unreachable
from services.settings import EgressSettings

OWN = ipaddress.ip_address("10.20.30.40")


def rule(purpose: str = "fetch", trusted: tuple[tuple[str, int], ...] = (), **settings: object) -> Rule:
    made = Rule.make(EgressSettings.model_validate(settings), Purpose(purpose), trusted)
    return Rule(
        made.purpose, made.private, made.allowed, made.refused, made.ports, made.trusted, own=lambda: {OWN}
    )


def refused(made: Rule, address: str, port: int = 443, host: str = "") -> str | None:
    return made.refusal(ipaddress.ip_address(address), port, host)


NEVER = [
    "0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "169.254.0.1", "fe80::1", "febf::1", "fec0::1",
    "224.0.0.1", "239.255.255.250", "ff02::1", "255.255.255.255", "240.0.0.1", "100.100.100.200",
    "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1", "64:ff9b:1::a9fe:a9fe", "::ffff:0.0.0.0", "2001:0:a9fe:a9fe::1",
    "2001:0:808:808:0:0:5601:5601", "2606:4700::5efe:a9fe:a9fe", "::169.254.169.254", "::ffff:0:a9fe:a9fe",
]
LOOPBACK = [
    "127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:0:7f00:1", "10.20.30.40",
]
PRIVATE = [
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "203.0.113.7",
    "192.0.2.1", "fc00::1", "fd12::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1",
]
PUBLIC = [
    "8.8.8.8", "140.82.121.4", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
]


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_reached(purpose: Purpose, address: str) -> None:
    everything = rule(purpose, private=True, allowed=["0.0.0.0/0", "::/0", "0.0.0.0/0:443", "[::/0]:443"])
    assert "never connected to" in (refused(everything, address) or "")


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_only_for_fetching_in_a_private_installation(address: str) -> None:
    assert refused(rule("fetch", private=True), address) is None
    assert refused(rule("fetch", private=False), address)
    assert refused(rule("build", private=True), address)
    assert refused(rule("server", private=True), address)


@pytest.mark.parametrize("address", LOOPBACK)
def test_no_address_of_this_machine_leads_to_the_control_plane(address: str) -> None:
    closed = ["127.0.0.1:8000", "localhost:8001"]
    made = rule("fetch", private=True, allowed=["127.0.0.0/8", "localhost:8000"], refused=closed)
    assert refused(made, address, 8000)
    assert refused(made, address, 8001)
    assert refused(made, address, 8002) is None


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("purpose", list(Purpose))
def test_private_addresses_need_the_setting(purpose: Purpose, address: str) -> None:
    assert refused(rule(purpose, private=True), address) is None
    assert "private address" in (refused(rule(purpose), address) or "")


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("purpose", list(Purpose))
def test_public_addresses_are_allowed(purpose: Purpose, address: str) -> None:
    assert refused(rule(purpose), address) is None


@pytest.mark.parametrize(
    ("settings", "host", "address", "port", "ok"),
    [
        ({"allowed": ["mirror.example.org"]}, "mirror.example.org", "10.0.0.1", 443, True),
        ({"allowed": ["mirror.example.org"]}, "other.example.org", "10.0.0.1", 443, False),
        ({"allowed": ["mirror.example.org"]}, "mirror.example.org", "127.0.0.1", 443, False),
        ({"allowed": ["*.example.org"]}, "a.example.org", "10.0.0.1", 443, True),
        ({"allowed": ["*.example.org"]}, "example.org", "10.0.0.1", 443, False),
        ({"allowed": ["*.example.org"]}, "evilexample.org", "10.0.0.1", 443, False),
        ({"allowed": ["10.1.0.0/16"]}, "", "10.1.2.3", 80, True),
        ({"allowed": ["10.1.0.0/16"]}, "", "10.2.2.3", 80, False),
        ({"allowed": ["10.1.0.0/16:8080"]}, "", "10.1.2.3", 8080, True),
        ({"allowed": ["10.1.0.0/16:8080"]}, "", "10.1.2.3", 80, False),
        ({"allowed": ["127.0.0.1:3141"]}, "", "127.0.0.1", 3141, True),
        ({"allowed": ["127.0.0.1"]}, "", "127.0.0.1", 3141, False),
        ({"allowed": ["[fd12::1]:80"]}, "", "fd12::1", 80, True),
        ({"allowed": ["fd12::/64"]}, "", "fd12::1", 80, True),
        ({"allowed": ["10.0.0.0/8"], "refused": ["10.0.0.5"]}, "", "10.0.0.5", 80, False),
        ({"allowed": ["db.local:5432"], "refused": ["db.local:5432"]}, "db.local", "10.0.0.5", 5432, False),
        ({"refused": ["140.82.0.0/16"]}, "github.com", "140.82.121.4", 443, False),
        ({"refused": ["github.com"]}, "github.com", "140.82.121.4", 443, False),
        ({"ports": [443]}, "", "8.8.8.8", 443, True),
        ({"ports": [443]}, "", "8.8.8.8", 25, False),
        ({"ports": [443], "allowed": ["8.8.8.8:25"]}, "", "8.8.8.8", 25, True),
        ({}, "", "8.8.8.8", 0, False),
        ({}, "", "8.8.8.8", 65536, False),
    ],
)
def test_settings(settings: dict[str, object], host: str, address: str, port: int, ok: bool) -> None:
    assert (refused(rule("build", **settings), address, port, host) is None) is ok


def test_configured_forges_may_be_anywhere_but_where_nothing_may_be() -> None:
    made = rule("fetch", trusted=(("Forge.internal", 3000), ("127.0.0.1", 3001), ("meta.internal", 80)))
    assert refused(made, "10.0.0.1", 3000, "forge.internal") is None
    assert refused(made, "127.0.0.1", 3001, "127.0.0.1") is None
    assert refused(made, "10.0.0.1", 3001, "forge.internal")
    assert refused(made, "169.254.169.254", 80, "meta.internal")


def test_fetching_may_use_every_port() -> None:
    assert refused(rule("fetch", ports=[443]), "8.8.8.8", 9418) is None


@pytest.mark.parametrize(
    "entry", ["https://example.org", "a b", "10.0.0.0/99", "host:0", "host:99999", "", "*.", "a/b"]
)
def test_a_wrong_entry_is_named_at_start(entry: str) -> None:
    with pytest.raises(Misconfigured, match=r"egress\.allowed"):
        rule(allowed=[entry])


def test_what_an_address_carries() -> None:
    def found(text: str) -> set[str]:
        return {str(face) for face in faces(ipaddress.ip_address(text))}

    assert found("::ffff:1.2.3.4") == {"1.2.3.4"}
    assert found("64:ff9b::102:304") == {"64:ff9b::102:304", "1.2.3.4"}
    assert found("2002:102:304::1") == {"2002:102:304::1", "1.2.3.4"}
    assert found("::1") == {"::1"}
    assert found("1.2.3.4") == {"1.2.3.4"}


async def answering(*addresses: str) -> tuple[Address, ...]:
    return tuple(ipaddress.ip_address(address) for address in addresses)


@pytest.mark.parametrize(
    ("host", "answers", "ok"),
    [
        ("example.org", ["8.8.8.8"], True),
        ("example.org", ["8.8.8.8", "2606:4700::1111"], True),
        ("example.org", ["8.8.8.8", "10.0.0.1"], False),
        ("example.org", ["2606:4700::1111", "::ffff:127.0.0.1"], False),
    ],
)
async def test_every_answer_is_checked(host: str, answers: list[str], ok: bool) -> None:
    made = Rule(Purpose.FETCH, resolver=lambda _host, _port: answering(*answers), own=frozenset)
    if ok:
        assert [str(address) for address in await made.check(host, 443)] == answers
    else:
        with pytest.raises(ForbiddenAddress, match=r"^example\.org leads to "):
            await made.check(host, 443)


async def test_a_literal_address_needs_no_look_up() -> None:
    made = Rule(Purpose.FETCH, resolver=lambda _host, _port: answering("10.0.0.1"), own=frozenset)
    assert [str(address) for address in await made.check("8.8.8.8", 80)] == ["8.8.8.8"]
    assert [str(address) for address in await made.check("[2606:4700::1111]", 80)] == ["2606:4700::1111"]


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "127.1", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.1.1", "1.2.3",
        "fe80::1%eth0", "", ".", "a..b", "-a", "a b", "a\nb", "a" * 64, "a." * 140, "xn--\u00e9",
        "\u24dbocalhost", "1\u30021\u30021\u30021", "user@host", "a/b", "127.0.0.1%00", "example.org.1",
    ],
)
async def test_addresses_in_disguise_are_refused(host: str) -> None:
    made = Rule(Purpose.FETCH, private=True, resolver=lambda _host, _port: answering("8.8.8.8"), own=frozenset)
    with pytest.raises(ForbiddenAddress):
        await made.check(host, 80)


@pytest.mark.parametrize(
    ("host", "refused_"),
    [
        ("localhost", True), ("a.LOCALHOST.", True), ("127.0.0.1", True), ("[::1]", True), ("10.0.0.1", True), ("8.8.8.8", False),
        ("example.org", False), ("localhost.example.org", False), ("127.1", True),
    ],
)
def test_what_is_written_is_refused_without_a_look_up(host: str, refused_: bool) -> None:
    made = rule()
    if refused_:
        with pytest.raises(ForbiddenAddress):
            made.refuse_written(host, 443)
    else:
        made.refuse_written(host, 443)


async def test_the_system_is_asked_for_names() -> None:
    made = rule(private=True)
    assert {str(address) for address in await made.check("LOCALHOST.", 80)} <= {"127.0.0.1", "::1"}
    with pytest.raises(Unreachable, match=r"no host named nothing\.invalid|cannot be looked up"):
        await made.check("nothing.invalid", 80)


def test_this_machine_knows_its_addresses() -> None:
    assert ipaddress.ip_address("127.0.0.1") in Rule(Purpose.FETCH).own()
