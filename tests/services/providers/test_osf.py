"""Open Science Framework, in the shape that its API's documentation gives."""

import pytest

from services.errors import BadSpec, Forbidden, Unreachable, Unresolved
from services.providers.links import read_link
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Stub


def node(public: bool = True, modified: str = "2017-03-07T16:58:57.362000") -> dict[str, object]:
    return {"data": {"id": "ezcuj", "type": "nodes", "attributes": {"public": public, "date_modified": modified}}}


@pytest.mark.parametrize(
    "spec",
    ["ezcuj", "EZCUJ/", "https%3A%2F%2Fosf.io%2Fezcuj%2F", "10.17605/OSF.IO/EZCUJ", "https://doi.org/10.17605/OSF.IO/EZCUJ"],
)
async def test_a_public_project(make: Make, forge: Stub, spec: str) -> None:
    forge.page("/v2/nodes/ezcuj/", node())
    osf = make("osf")
    resolved = await osf.resolve(osf.parse(spec))
    assert resolved.ref == "ezcuj.v1488905937"
    assert resolved.repo_url == resolved.ref_url == f"{forge.url}/ezcuj/"
    assert (resolved.spec, resolved.slug) == ("ezcuj", "osf-ezcuj")


async def test_a_registration(make: Make, forge: Stub) -> None:
    forge.page("/v2/registrations/abcde/", node(modified="2017-03-07T16:58:57Z"))
    osf = make("osf")
    assert (await osf.resolve(osf.parse("abcde"))).ref == "abcde.v1488905937"


async def test_refusals(make: Make, forge: Stub) -> None:
    osf = make("osf")
    forge.page("/v2/nodes/aaaaa/", node(public=False))
    forge.page("/v2/nodes/bbbbb/", {"errors": []}, 401)
    forge.page("/v2/nodes/ccccc/", {"data": {}})
    for project, error in (("aaaaa", Forbidden), ("bbbbb", Forbidden), ("ccccc", Unreachable), ("ddddd", Unresolved)):
        with pytest.raises(error):
            await osf.resolve(osf.parse(project))
    for raw in ("ezcu", "ezcuj1", "https%3A%2F%2Fexample.org%2Fezcuj", "10.17605/OSF.IO/"):
        with pytest.raises(BadSpec):
            osf.parse(raw)


@pytest.mark.parametrize("text", ["https://osf.io/ezcuj/", "https://osf.io/ezcuj/files/osfstorage", "doi:10.17605/OSF.IO/EZCUJ"])
def test_links(make: Make, text: str) -> None:
    link = read_link(text, {"osf": make("osf", osf_url="https://osf.io"), "git": make("git")})
    assert (link.provider, link.spec, link.repo) == ("osf", "ezcuj", "https://osf.io/ezcuj/")
