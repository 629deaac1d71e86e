"""A repository has one name, whichever way a link takes to it; and nobody bends a name into one that is allowed."""

from urllib.parse import quote

import pytest

from services.policy.naming import Namer
from services.providers import make_providers
from services.settings import load

SETTINGS = load({"DOCKYARD_PROVIDERS_ENABLED": "gh,gist,git,gl,bitbucket,codeberg,zenodo", "DOCKYARD_EGRESS_PRIVATE": "true"})
NAMER = Namer(SETTINGS.providers)


def git(url: str, ref: str = "HEAD") -> str:
    return f"git/{quote(url, safe='')}/{ref}"


@pytest.fixture(scope="module")
async def providers():
    found = make_providers(SETTINGS.providers, SETTINGS.egress)
    yield found
    for provider in found.values():
        await provider.aclose()


@pytest.mark.parametrize("link", [
    "gh/Org/Name/HEAD", "gh/org/name.git/main", "gh/org/name/feature%2Fx", git("https://github.com/org/name"),
    git("https://GitHub.com/Org/Name.git"), git("http://github.com:443/org/name/"), git("git@github.com:org/name.git"),
    git("ssh://git@github.com/org/name"), git("https://www.github.com/org/name"), git("https://github.com//org/./name"),
    git("https://github.com/evil/../org/name"), git("https://github.com./org/name"), git("https://github.com/org/%6eame"),
])
def test_one_name_for_all_ways(providers, link: str) -> None:
    prefix, _, raw = link.partition("/")
    names = NAMER.of(providers[prefix].parse(raw))
    assert names.repository == "github.com/org/name"
    assert {"github.com/org/name", "gh/org/name"} <= set(names.all)


@pytest.mark.parametrize(("link", "name"), [
    ("gl/group%2Fproject/HEAD", "gitlab.com/group/project"),
    ("gist/user/0123456789abcdef", "gist.github.com/user/0123456789abcdef"),
    ("codeberg/org/name/HEAD", "codeberg.org/org/name"),
    ("zenodo/10.5281/zenodo.3242074", "zenodo/10.5281/zenodo.3242074"),
    (git("https://git.example.org:8443/a/b"), "git.example.org:8443/a/b"),
    (git("https://192.0.2.7/a/b.git"), "192.0.2.7/a/b"),
])
def test_names_of_others(providers, link: str, name: str) -> None:
    prefix, _, raw = link.partition("/")
    assert NAMER.of(providers[prefix].parse(raw)).repository == name


@pytest.mark.parametrize("raw", [
    quote("https://git.example.org/good/../evil/x", safe=""), quote("https://git.example.org/good/%2e%2e/evil/x", safe=""),
    quote("https://git.example.org/good/%252e%252e/evil/x", safe=""),
])
def test_what_is_sure_does_not_climb(raw: str) -> None:
    url = raw.replace("%3A", ":").replace("%2F", "/").replace("%25", "%")
    names = NAMER.names("git", f"{raw}/HEAD", url, "HEAD")
    assert not any(name.startswith(("git.example.org/good", "git/https://git.example.org/good")) for name in names.sure)
