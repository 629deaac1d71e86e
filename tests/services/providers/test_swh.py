"""Software Heritage: identifiers that are their own version, and the two kinds that are looked up."""

import pytest

from services.errors import BadSpec, Unreachable, Unresolved
from services.providers.links import read_link
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Stub

SHA = "94dca98c006b80309704c717b5d83dff3c1fa3a0"
OTHER = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("kind", ["rev", "dir"])
@pytest.mark.parametrize("tail", ["", ";origin=https://github.com/o/r;path=/a", "%3Borigin=https%3A%2F%2Fgithub.com%2Fo%2Fr/"])
def test_content_is_its_own_version(make: Make, forge: Stub, kind: str, tail: str) -> None:
    swh = make("swh")
    resolved = swh.pinned(swh.parse(f"swh:1:{kind}:{SHA}{tail}"))
    assert resolved is not None
    assert resolved.ref == SHA
    assert resolved.spec == resolved.repo_url == f"swh:1:{kind}:{SHA}"
    assert resolved.ref_url == f"{forge.url}/swh:1:{kind}:{SHA}"
    assert resolved.slug == f"swh-{kind}-{SHA}"
    assert forge.requests == []


async def test_releases_and_snapshots_are_looked_up(make: Make, forge: Stub) -> None:
    forge.page(f"/api/1/release/{OTHER}/", {"target_type": "revision", "target": SHA})
    branches = {
        "HEAD": {"target_type": "alias", "target": "refs/heads/main"},
        "refs/heads/main": {"target_type": "release", "target": OTHER},
    }
    forge.page(f"/api/1/snapshot/{OTHER}/", {"branches": branches})
    swh = make("swh")
    for kind in ("rel", "snp"):
        spec = swh.parse(f"swh:1:{kind}:{OTHER.upper()}")
        assert swh.pinned(spec) is None
        assert (await swh.resolve(spec)).repo_url == f"swh:1:rev:{SHA}"


@pytest.mark.parametrize(
    "answer",
    [
        {}, {"branches": {}}, {"branches": {"HEAD": {"target_type": "alias", "target": "HEAD"}}},
        {"branches": {"HEAD": {"target_type": "revision", "target": "../x"}}},
        {"branches": {"HEAD": {"target_type": "content", "target": SHA}}},
    ],
)
async def test_nonsense_is_not_believed(make: Make, forge: Stub, answer: object) -> None:
    forge.page(f"/api/1/snapshot/{OTHER}/", answer)
    swh = make("swh")
    with pytest.raises(Unreachable, match="unexpected"):
        await swh.resolve(swh.parse(f"swh:1:snp:{OTHER}"))


async def test_what_is_not_there(make: Make, forge: Stub) -> None:
    swh = make("swh")
    with pytest.raises(Unresolved, match="knows no such record"):
        await swh.resolve(swh.parse(f"swh:1:rel:{OTHER}"))
    forge.page(f"/api/1/release/{OTHER}/", {"target_type": "release", "target": OTHER})
    with pytest.raises(Unresolved, match="leads to no revision"):
        await swh.resolve(swh.parse(f"swh:1:rel:{OTHER}"))


@pytest.mark.parametrize(
    "raw", ["swh:1:rev:12", f"swh:2:rev:{SHA}", f"swh:1:cnt:{SHA}", f"swh:1:rev:{SHA}x", f"swh:1:rev:{SHA};origin=a b", "x"]
)
def test_malformed_specs(make: Make, raw: str) -> None:
    with pytest.raises(BadSpec):
        make("swh").parse(raw)


@pytest.mark.parametrize("start", ["https://archive.softwareheritage.org/", "https://archive.softwareheritage.org/browse/", ""])
def test_links(make: Make, start: str) -> None:
    offered = {"swh": make("swh", swh_url="https://archive.softwareheritage.org"), "git": make("git")}
    link = read_link(f"{start}swh:1:rev:{SHA};origin=https://github.com/o/r;path=/a%20b.ipynb", offered)
    assert (link.provider, link.spec, link.opens) == ("swh", f"swh:1:rev:{SHA}", "doc/tree/a%20b.ipynb")
