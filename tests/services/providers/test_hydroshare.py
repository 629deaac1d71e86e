"""HydroShare, as its API answered when it was recorded."""

from urllib.parse import quote

import pytest

from services.errors import BadSpec, Unresolved
from services.providers.links import read_link
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Stub

ONE = "142c59757ed54de1816777828c9716e7"
TWO = "b8f6eae9d89241cf8b5904033460af61"


@pytest.mark.parametrize(
    ("spec", "ref"),
    [
        (quote(f"https://www.hydroshare.org/resource/{ONE}/", safe=""), f"{ONE}.v1545934606"),
        (f"https://www.hydroshare.org/resource/{ONE}", f"{ONE}.v1545934606"),
        (ONE, f"{ONE}.v1545934606"),
        (quote(f"10.4211/hs.{TWO}", safe=""), f"{TWO}.v1585005408"),
    ],
)
async def test_resources_as_recorded(make: Make, forge: Stub, spec: str, ref: str) -> None:
    hydroshare = make("hydroshare")
    resolved = await hydroshare.resolve(hydroshare.parse(spec))
    assert resolved.ref == ref
    assert resolved.repo_url == resolved.ref_url == f"{forge.url}/resource/{ref.partition('.')[0]}"
    assert resolved.slug == f"hydroshare-{ref}"
    assert hydroshare.parse(resolved.spec).repo == resolved.repo_url


def test_malformed_specs(make: Make) -> None:
    with pytest.raises(BadSpec, match=r"^The specified Hydroshare resource id was not recognized\.$"):
        make("hydroshare").parse("https%3A%2F%2Fwww.hydroshare.org%2Fresource%2F123")


async def test_what_is_not_there(make: Make) -> None:
    hydroshare = make("hydroshare")
    with pytest.raises(Unresolved, match="knows no such record"):
        await hydroshare.resolve(hydroshare.parse("0" * 32))


@pytest.mark.parametrize(
    "text", [f"https://www.hydroshare.org/resource/{ONE}/", f"https://doi.org/10.4211/hs.{ONE}", f"10.4211/hs.{ONE}"]
)
def test_links(make: Make, text: str) -> None:
    link = read_link(text, {"zenodo": make("zenodo"), "hydroshare": make("hydroshare"), "git": make("git")})
    assert link.provider == "hydroshare"
    assert link.repo.endswith(f"/resource/{ONE}")
