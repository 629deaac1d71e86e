"""Dataverse, as Harvard's answered when it was recorded."""

import pytest

from services.errors import BadSpec, Unreachable, Unresolved
from services.providers.links import read_link
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Stub

DOI = "10.7910/DVN/TJCLKP"


async def test_a_dataset_as_recorded(make: Make, forge: Stub) -> None:
    dataverse = make("dataverse", private=True)
    resolved = await dataverse.resolve(dataverse.parse(f"{DOI}/"))
    assert resolved.ref == "3035124.v4.0"
    assert resolved.spec == resolved.repo_url == DOI
    assert resolved.ref_url == f"https://doi.org/{DOI}"
    assert resolved.slug == "dataverse-dvn-2ftjclkp"
    assert forge.paths[-1] == f"/api/datasets/:persistentId?persistentId=doi:{DOI}"


@pytest.mark.parametrize("body", [{"status": "ERROR"}, {"status": "OK"}, {"status": "OK", "data": {}}, []])
async def test_nonsense_is_not_believed(make: Make, forge: Stub, body: object) -> None:
    forge.page("/api/datasets/:persistentId", body)
    dataverse = make("dataverse", private=True)
    with pytest.raises(Unreachable, match="unexpected"):
        await dataverse.resolve(dataverse.parse(DOI))


async def test_what_is_not_there(make: Make) -> None:
    dataverse = make("dataverse", private=True)
    with pytest.raises(Unresolved, match=r"^Could not resolve ref for dataverse:10\.7910/DVN/NOSUCH\."):
        await dataverse.resolve(dataverse.parse("10.7910/DVN/NOSUCH"))
    with pytest.raises(BadSpec):
        dataverse.parse("DVN/TJCLKP")


@pytest.mark.parametrize(
    "text",
    [f"https://doi.org/{DOI}", f"doi:{DOI}", f"https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:{DOI}&version=2.0"],
)
def test_links(make: Make, text: str) -> None:
    link = read_link(text, {"zenodo": make("zenodo"), "dataverse": make("dataverse"), "git": make("git")})
    assert (link.provider, link.repo) == ("dataverse", DOI)
