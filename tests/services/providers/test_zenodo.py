"""Zenodo: DOIs that lead to a record, as the DOI system does."""

import pytest

from services.errors import BadSpec, Forbidden, ForbiddenAddress, Unreachable, Unresolved
from services.providers.links import read_link
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Page, Stub


@pytest.mark.parametrize(
    "spec",
    [
        "10.5281/zenodo.3242074", "10.5281/zenodo.3242073", "10.5281/zenodo.3242074/", "10.5281%2Fzenodo.3242074",
        "https://doi.org/10.5281/zenodo.3242074", "doi:10.5281/zenodo.3242074",
    ],
)
async def test_a_doi_leads_to_a_record(make: Make, spec: str) -> None:
    zenodo = make("zenodo", private=True)
    resolved = await zenodo.resolve(zenodo.parse(spec))
    assert resolved.ref == "3242074"
    assert resolved.spec == resolved.repo_url == "10.5281/zenodo.3242074"
    assert resolved.ref_url == "https://doi.org/10.5281/zenodo.3242074"
    assert resolved.slug == "zenodo-3242074"


@pytest.mark.parametrize("raw", ["zenodo.1", "10.5281", "10.5281/", "10.5281/../x", "10.5281/a b", "10.5281/a?b", "11.1/x", "10.5281/%00"])
def test_malformed_specs(make: Make, raw: str) -> None:
    with pytest.raises(BadSpec):
        make("zenodo").parse(raw)


async def test_what_is_not_there(make: Make, forge: Stub) -> None:
    zenodo = make("zenodo", private=True)
    with pytest.raises(Unresolved, match=r"^Could not resolve ref for zenodo:10\.5281/zenodo\.1\. .* knows no such record"):
        await zenodo.resolve(zenodo.parse("10.5281/zenodo.1"))
    forge.redirect("/10.5281/zenodo.2", "/")
    forge.pages["/"] = Page()
    with pytest.raises(Unresolved, match="does not lead to a record"):
        await zenodo.resolve(zenodo.parse("10.5281/zenodo.2"))
    forge.pages["/10.5281/zenodo.3"] = Page(403)
    with pytest.raises(Forbidden, match="only public ones"):
        await zenodo.resolve(zenodo.parse("10.5281/zenodo.3"))
    forge.pages["/10.5281/zenodo.4"] = Page(502)
    with pytest.raises(Unreachable, match=r"\(502\)"):
        await zenodo.resolve(zenodo.parse("10.5281/zenodo.4"))


async def test_a_strangers_doi_does_not_lead_inside(make: Make, forge: Stub) -> None:
    zenodo = make("zenodo")
    forge.redirect("/10.9999/evil", f"http://localhost:{forge.port}/internal")
    with pytest.raises(ForbiddenAddress):
        await zenodo.resolve(zenodo.parse("10.9999/evil"))
    assert forge.paths == ["/10.9999/evil"]


@pytest.mark.parametrize(
    "text",
    [
        "10.5281/zenodo.3242074", "doi:10.5281/zenodo.3242074", "https://doi.org/10.5281/zenodo.3242074",
        "https://zenodo.org/records/3242074", "https://zenodo.org/record/3242074/files/x.ipynb",
        "https://zenodo.org/doi/10.5281/zenodo.3242074", "https://mybinder.org/v2/zenodo/10.5281/zenodo.3242074/?urlpath=lab",
    ],
)
def test_links(make: Make, text: str) -> None:
    link = read_link(text, {"gh": make("gh"), "zenodo": make("zenodo"), "git": make("git")})
    assert (link.provider, link.repo, link.ref) == ("zenodo", "10.5281/zenodo.3242074", "")
