"""CKAN, as two installations answered when they were recorded."""

from urllib.parse import quote

import pytest

from services.errors import BadSpec, ForbiddenAddress, Unresolved
from services.providers.links import read_link
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Stub

TURTLES = "binder-example-sea-turtle-sightings-in-taiwan"
ACTIVITY = "93df7fd0-0edc-4ebf-bac7-fbf5f78de90b"


@pytest.mark.parametrize("tail", [f"/?activity_id={ACTIVITY}", f"/history/{ACTIVITY}", f"/history/{ACTIVITY}?activity_id=other"])
async def test_a_past_state_as_recorded(make: Make, forge: Stub, tail: str) -> None:
    ckan = make("ckan", private=True)
    url = f"{forge.url}/dataset/{TURTLES}{tail}"
    resolved = await ckan.resolve(ckan.parse(quote(url, safe="")))
    assert resolved.ref == f"{TURTLES}.v1712023831"
    assert resolved.repo_url == resolved.ref_url == url
    assert resolved.slug == f"ckan-{TURTLES}"
    assert ckan.parse(resolved.spec).repo == url
    assert forge.paths == [f"/api/3/action/activity_data_show?id={ACTIVITY}&object_type=package"]


async def test_the_present_state_below_a_path(make: Make, forge: Stub) -> None:
    forge.page("/data/api/3/action/package_show", {"success": True, "result": {"metadata_modified": "2024-04-02T02:10:31.7"}})
    ckan = make("ckan", private=True)
    resolved = await ckan.resolve(ckan.parse(quote(f"{forge.url}/data/dataset/x_1", safe="")))
    assert resolved.ref == "x_1.v1712023831"
    assert forge.paths == ["/data/api/3/action/package_show?id=x_1"]


async def test_what_is_not_there(make: Make, forge: Stub) -> None:
    ckan = make("ckan", private=True)
    with pytest.raises(Unresolved, match=r"^Could not resolve ref for ckan:"):
        await ckan.resolve(ckan.parse(quote(f"{forge.url}/dataset/nosuchdataset", safe="")))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://demo.ckan.org/group/roger", "not the address of a CKAN dataset"),
        ("https://demo.ckan.org/dataset/", "not the address of a CKAN dataset"),
        ("https://demo.ckan.org/dataset/a%2F..", "not the address of a CKAN dataset"),
        ("https://demo.ckan.org/dataset/x?activity_id=a/b", "not the id of one"),
        ("https://user:secret@demo.ckan.org/dataset/x", "carries a user name or password"),
        ("git://demo.ckan.org/dataset/x", "must begin with https"),
        ("file:///dataset/x", "protocol file not in"),
        ("demo", "protocol  not in"),
    ],
)
def test_malformed_specs(make: Make, url: str, words: str) -> None:
    with pytest.raises((BadSpec, ForbiddenAddress), match=words) as caught:
        make("ckan").parse(quote(url, safe=""))
    assert "secret" not in str(caught.value)


async def test_in_production_nothing_private_is_asked(make: Make, forge: Stub) -> None:
    ckan = make("ckan")
    with pytest.raises(ForbiddenAddress):
        await ckan.resolve(ckan.parse(quote(f"{forge.url}/dataset/x", safe="")))
    assert forge.requests == []


def test_links(make: Make) -> None:
    offered = {"ckan": make("ckan"), "git": make("git")}
    link = read_link(f"https://data.depositar.io/dataset/{TURTLES}/?activity_id={ACTIVITY}#top", offered)
    assert (link.provider, link.repo) == ("ckan", f"https://data.depositar.io/dataset/{TURTLES}/?activity_id={ACTIVITY}")
    assert read_link("https://example.org/dataset/x.git", offered).provider == "git"
