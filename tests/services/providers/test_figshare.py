"""Figshare, as its API answered when it was recorded."""

import pytest

from services.errors import BadSpec, Unresolved
from services.providers.links import read_link
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Stub


@pytest.mark.parametrize(
    ("spec", "ref"),
    [("10.6084/m9.figshare.9782777.v1", "9782777.v1"), ("10.6084/m9.figshare.9782777", "9782777.v3")],
)
async def test_versions_as_recorded(make: Make, spec: str, ref: str) -> None:
    figshare = make("figshare", private=True)
    resolved = await figshare.resolve(figshare.parse(spec))
    assert resolved.ref == ref
    assert resolved.spec == resolved.repo_url == f"10.6084/m9.figshare.{ref}"
    assert resolved.ref_url == f"https://doi.org/10.6084/m9.figshare.{ref}"
    assert resolved.slug == f"figshare-{ref}"


@pytest.mark.parametrize("raw", ["10.6084/x", "10.6084/m9.figshare.x", "9782777", "10.6084/9782777"])
def test_malformed_specs(make: Make, raw: str) -> None:
    with pytest.raises(BadSpec):
        make("figshare").parse(raw)


async def test_what_is_not_there(make: Make, forge: Stub) -> None:
    figshare = make("figshare", private=True)
    forge.redirect("/10.6084/m9.figshare.5", "/articles/code/Binder_Examples/9782777")
    for spec in ("10.6084/m9.figshare.4", "10.6084/m9.figshare.5"):
        with pytest.raises(Unresolved, match=rf"^Could not resolve ref for figshare:{spec}\."):
            await figshare.resolve(figshare.parse(spec))


@pytest.mark.parametrize(
    ("text", "repo"),
    [
        ("https://doi.org/10.6084/m9.figshare.9782777.v1", "10.6084/m9.figshare.9782777.v1"),
        ("https://figshare.com/articles/code/Binder_Examples/9782777/1", "10.6084/m9.figshare.9782777.v1"),
        ("https://figshare.com/articles/Binder_Examples/9782777", "10.6084/m9.figshare.9782777"),
    ],
)
def test_links(make: Make, text: str, repo: str) -> None:
    link = read_link(text, {"zenodo": make("zenodo"), "figshare": make("figshare"), "git": make("git")})
    assert (link.provider, link.repo) == ("figshare", repo)
