"""What every provider must do, whatever its forge. A new provider joins by one line in each table."""

import asyncio
import re
from dataclasses import dataclass, replace
from urllib.parse import quote

import pytest

from services.errors import BadRequest, DockyardError, Forbidden, Misconfigured, RateLimited, Unresolved
from services.names import image_name
from services.providers import TABLE, Resolved, make_providers
from services.providers.links import read_link
from services.settings import EgressSettings, ProviderSettings
from tests.gitserver import GitServer, Repo
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Stub

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Case:
    """A provider with specs that lead somewhere, nowhere and astray."""

    prefix: str
    found: str
    missing: str
    malformed: str
    pinned: str = ""  # the spec of a commit id; "" where the forge must be asked even for one
    refs: bool = True  # whether there are branches, tags and commits


HYDRO = "142c59757ed54de1816777828c9716e7"
CASES = {
    "gh": Case("gh", "o/api/HEAD", "o/api/nosuch", "o", f"o/r/{SHA}"),
    "gist": Case("gist", "u/0a0b/HEAD", "u/ffff", "u"),
    "git": Case("git", "{git}/HEAD", "{git}/nosuch", "ftp%3A%2F%2Fx/HEAD", f"https%3A%2F%2Fexample.org%2Fr/{SHA}"),
    "gl": Case("gl", "o%2Fapi/HEAD", "o%2Fapi/nosuch", "o/r/HEAD", f"o%2Fr/{SHA}"),
    "zenodo": Case("zenodo", "10.5281/zenodo.3242074", "10.5281/zenodo.1", "zenodo.1", refs=False),
    "figshare": Case("figshare", "10.6084/m9.figshare.9782777", "10.6084/m9.figshare.1", "10.6084/x", refs=False),
    "hydroshare": Case("hydroshare", HYDRO, "0" * 32, "0" * 31, refs=False),
    "dataverse": Case("dataverse", "10.7910/DVN/TJCLKP", "10.7910/DVN/NOSUCH", "DVN/TJCLKP", refs=False),
    "bitbucket": Case("bitbucket", "o/plain/HEAD", "o/plain/nosuch", "o", f"o/r/{SHA}"),
    "codeberg": Case("codeberg", "o/plain/HEAD", "o/plain/nosuch", "o", f"o/r/{SHA}"),
    "gitea": Case("gitea", "o/plain/HEAD", "o/plain/nosuch", "o", f"o/r/{SHA}"),
    "swh": Case("swh", f"swh:1:snp:{SHA}", f"swh:1:snp:{'0' * 40}", "swh:1:x:0", f"swh:1:rev:{SHA}", refs=False),
    "osf": Case("osf", "ezcuj", "nosuc", "ezcu", refs=False),
    "ckan": Case("ckan", "{forge}%2Fdataset%2Fx", "{forge}%2Fdataset%2Fy", "{forge}%2Fgroup%2Fx", refs=False),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, forge: Stub, git: GitServer, repo: Repo) -> Case:
    """Every provider in turn, its forge knowing one repository."""
    commit = repo.id("HEAD")
    forge.page("/repos/o/api/commits/HEAD", {"sha": commit}, Etag='"1"')
    forge.page("/repos/o/api/commits/nosuch", {"message": "No commit found for SHA: nosuch"}, 422)
    forge.page("/gists/0a0b", {"id": "0a0b", "public": True, "history": [{"version": commit}]}, Etag='"1"')
    forge.page("/api/v4/projects/o%2Fapi/repository/commits/HEAD", {"id": commit}, Etag='"1"')
    forge.page("/api/v4/projects/o%2Fapi/repository/commits/nosuch", {"message": "404 Commit Not Found"}, 404)
    case = CASES[request.param]
    head = {"HEAD": {"target_type": "revision", "target": SHA}}
    forge.page(f"/api/1/snapshot/{SHA}/", {"branches": head})
    forge.page("/v2/nodes/ezcuj/", {"data": {"attributes": {"public": True, "date_modified": "2024-04-02T02:10:31.7"}}})
    forge.page("/api/3/action/package_show?id=x", {"result": {"metadata_modified": "2024-04-02T02:10:31.7"}})
    here = {"git": quote(git.url("o/r"), safe=""), "forge": quote(forge.url, safe="")}
    texts = {name: getattr(case, name).format(**here) for name in ("found", "missing", "malformed", "pinned")}
    return replace(case, **texts)


async def test_a_ref_becomes_a_commit(make: Make, case: Case, repo: Repo) -> None:
    provider = make(case.prefix, private=True)
    spec = provider.parse(f"{case.found}/")
    assert (spec.provider, spec.raw, spec.pinned) == (case.prefix, case.found, False)
    assert provider.pinned(spec) is None
    resolved = await provider.resolve(spec)
    if case.refs:
        assert resolved.ref == repo.id("HEAD")
        assert resolved.spec.endswith(f"/{resolved.ref}")
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", resolved.ref), "it becomes the tag of an image"
    assert "@" not in resolved.repo_url
    assert resolved.notice == ""
    assert image_name("", resolved.slug, resolved.ref)
    again = provider.parse(resolved.spec)
    assert again.repo == spec.repo or not case.refs
    assert comparable(await provider.resolve(again)) == comparable(resolved)


def comparable(resolved: Resolved) -> tuple[str, ...]:
    """Everything but the branch, which a commit id does not tell."""
    return resolved.ref, resolved.spec, resolved.ref_url, resolved.repo_url, resolved.slug


async def test_one_request_serves_a_crowd(make: Make, case: Case, forge: Stub, git: GitServer) -> None:
    provider = make(case.prefix, private=True)
    forge.held = asyncio.Event()
    waiting = [asyncio.ensure_future(provider.resolve(provider.parse(case.found))) for _ in range(50)]
    while not forge.requests and not git.requests:
        await asyncio.sleep(0.001)
    forge.held.set()
    assert len({resolved.ref for resolved in await asyncio.gather(*waiting)}) == 1
    asked = forge.paths + [hit for hit in git.requests if "info/refs" in hit]
    assert len(set(asked)) == len(asked), "nothing is asked twice"


async def test_what_is_not_there_is_unresolved(make: Make, case: Case) -> None:
    provider = make(case.prefix, private=True)
    with pytest.raises(Unresolved) as caught:
        await provider.resolve(provider.parse(case.missing))
    start = f"Could not resolve ref for {case.prefix}:{case.missing}. Double check your URL and that your repo is public."
    assert caught.value.sentence.startswith(start)


@pytest.mark.parametrize("case", [prefix for prefix, case in CASES.items() if case.pinned], indirect=True)
async def test_a_commit_id_needs_no_request(make: Make, case: Case, forge: Stub, git: GitServer) -> None:
    provider = make(case.prefix)
    for raw in (case.pinned, case.pinned.replace(SHA, SHA.upper())):
        resolved = await provider.resolve(provider.parse(raw))
        assert (resolved.ref, resolved.branch) == (SHA, "")
        assert resolved.spec == case.pinned
    assert forge.requests == []
    assert git.requests == []


@pytest.mark.parametrize("prefix", ["gh", "gl", "git", "bitbucket", "codeberg", "gitea"])
async def test_a_private_repository_is_asked_with_the_login_of_its_host(
    prefix: str, make: Make, forge: Stub, git: GitServer, repo: Repo,
) -> None:
    """The api of `gh` and `gl` will not answer here, so their git servers are asked too."""
    forge.page("/repos/o/plain/commits/HEAD", {"message": "limit"}, 429)
    forge.page("/api/v4/projects/o%2Fplain/repository/commits/HEAD", {"message": "limit"}, 429)
    login = {"git_credentials": {git.address: r"username=reader\npassword=canary"}}
    spec = {"git": f"{quote(git.url('o/plain.git'), safe='')}/HEAD", "gl": "o%2Fplain/HEAD"}.get(prefix, "o/plain/HEAD")
    git.login = "reader:canary"
    try:
        allowed, other, stranger = make(prefix, private=True, **login), make(prefix, private=True, git_credentials={
            git.address: r"username=reader\npassword=wrong"}), make(prefix, private=True)
        resolved = await allowed.resolve(allowed.parse(spec))
        for provider in (other, stranger):
            with pytest.raises((Forbidden, RateLimited)) as refused:
                await provider.resolve(provider.parse(spec))
            assert "wrong" not in str(refused.value)
    finally:
        git.login = ""
    assert resolved.ref == repo.id("HEAD")
    assert "canary" not in repr(resolved)


def test_malformed_specs_are_refused(make: Make, case: Case) -> None:
    provider = make(case.prefix)
    bad_refs = [case.found.replace("HEAD", ref) for ref in ("-x", "a..b", "a%00", "%ff")] if case.refs else []
    for raw in (case.malformed, "", "/", "%", "\0", "a" * 3000, *bad_refs):
        with pytest.raises(BadRequest) as caught:
            provider.parse(raw)
        assert caught.value.sentence
        assert caught.value.sentence.isprintable()


async def test_a_dead_forge_is_unreachable(case: Case, unused_tcp_port: int) -> None:
    dead = f"http://127.0.0.1:{unused_tcp_port}"
    hosts = ("github_api", "github_host", "gist_host", "gitlab_api", "gitlab_host", "bitbucket_host", "codeberg_host", "gitea_host")
    names = (*hosts, "doi_url", "figshare_api", "hydroshare_url", "swh_url", "osf_api")
    settings = ProviderSettings.model_validate({"enabled": [case.prefix]} | dict.fromkeys(names, dead))
    provider = make_providers(settings, EgressSettings.model_validate({"private": True}))[case.prefix]
    spec = {"git": f"{quote(dead, safe='')}%2Fr/HEAD", "ckan": f"{quote(dead, safe='')}%2Fdataset%2Fx"}.get(case.prefix, case.found)
    with pytest.raises(DockyardError) as caught:
        await provider.resolve(provider.parse(spec))
    assert caught.value.code == "unreachable"
    assert caught.value.retryable
    await provider.aclose()


def test_the_home_page_knows_it(make: Make, case: Case) -> None:
    display = make(case.prefix).display
    assert display["id"] == case.prefix
    assert set(display) <= {"displayName", "id", "spec", "detect", "repo", "ref"}
    assert set(display["repo"]) == {"label", "placeholder", "urlEncode"}
    assert display["ref"] == ({"enabled": True, "default": "HEAD"} if case.refs else {"enabled": False})


def test_its_own_binder_link_is_read_back(make: Make, case: Case) -> None:
    provider = make(case.prefix, private=True)
    link = read_link(f"https://mybinder.org/v2/{case.prefix}/{case.found}?urlpath=lab", {case.prefix: provider})
    assert (link.provider, link.ref, link.opens) == (case.prefix, "HEAD" if case.refs else "", "lab")
    assert provider.parse(link.spec).repo == link.repo


def test_the_table(make: Make) -> None:
    settings = ProviderSettings.model_validate({})
    providers = make_providers(settings, EgressSettings.model_validate({}))
    assert list(providers) == settings.enabled == [prefix for prefix in TABLE if prefix != "gitea"]
    for key, value in (("enabled", ["gh", "nosuch"]), ("github_api", "ftp://x"), ("github_host", "a b"), ("gitlab_host", "u:p@h")):
        with pytest.raises(Misconfigured, match=rf"providers\.{key}"):
            make_providers(ProviderSettings.model_validate({key: value}), EgressSettings.model_validate({}))
