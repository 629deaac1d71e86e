"""Gists, against what GitHub's API answered when it was recorded."""

import pytest

from services.errors import BadSpec, Forbidden, RateLimited, Unresolved
from tests.gitserver import GitServer, Repo
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Page, Stub

PUBLIC = "mariusvniekerk/8a658f7f63b13768d1e75fa2464f5092"
NEWEST = "7daa381aae8409bfe28193e2ed8f767c26371237"
SECRET = "mariusvniekerk/bd01411ea4bf4eb8135893ef237398ba"
OLDER = "72997b34f5b0d6949e9e3750889e0b3ff7b5c066"


@pytest.mark.parametrize("ref", ["", "/HEAD", "/master", "/main", f"/{NEWEST}", f"/{NEWEST.upper()}"])
async def test_a_public_gist(make: Make, git: GitServer, ref: str) -> None:
    gist = make("gist")
    resolved = await gist.resolve(gist.parse(f"{PUBLIC}{ref}"))
    assert resolved.ref == NEWEST
    assert resolved.spec == f"{PUBLIC}/{NEWEST}"
    assert resolved.ref_url == f"{git.address}/{PUBLIC}/{NEWEST}"
    assert resolved.repo_url == f"{git.address}/{PUBLIC}.git"
    assert resolved.slug == "8a658f7f63b13768d1e75fa2464f5092"


@pytest.mark.parametrize("ref", ["", f"/{OLDER}"])
async def test_a_secret_gist_is_refused(make: Make, ref: str) -> None:
    gist = make("gist")
    assert gist.pinned(gist.parse(f"{SECRET}{ref}")) is None
    with pytest.raises(Forbidden, match=r"^You seem to want to use a secret Gist, but do not have permission"):
        await gist.resolve(gist.parse(f"{SECRET}{ref}"))


async def test_a_secret_gist_where_they_are_allowed(make: Make, forge: Stub) -> None:
    gist = make("gist", secret_gists=True)
    assert (await gist.resolve(gist.parse(SECRET))).ref == "56b1968a071db4b234121510054ab3f903c83350"
    assert len(forge.requests) == 1
    assert (await gist.resolve(gist.parse(f"{SECRET}/{OLDER}"))).ref == OLDER
    assert len(forge.requests) == 1, "a commit id needs no request"


async def test_a_revision_beyond_the_list(make: Make, forge: Stub) -> None:
    gist = make("gist")
    forge.page(f"/gists/{PUBLIC.split('/')[1]}/{OLDER}", {"id": PUBLIC.split("/")[1]})
    assert (await gist.resolve(gist.parse(f"{PUBLIC}/{OLDER}"))).ref == OLDER


@pytest.mark.parametrize(("spec", "detail"), [
    (f"{PUBLIC}/{'0' * 40}", "The gist has no such revision; leave it out for the newest."),
    (f"{PUBLIC}/dev", "The gist has no such revision; leave it out for the newest."),
    ("nobody/0123456789abcdef", "GitHub knows no gist 0123456789abcdef."),
])
async def test_what_is_not_there(make: Make, spec: str, detail: str) -> None:
    gist = make("gist")
    with pytest.raises(Unresolved) as caught:
        await gist.resolve(gist.parse(spec))
    text = f"Could not resolve ref for gist:{spec}. Double check your URL and that your repo is public. {detail}"
    assert caught.value.sentence == text


@pytest.mark.parametrize("raw", ["u", "u/", "u/g/x/y", "u/-g", "u/g%2F..", "-u/g", "u/g/-x", "u/g/a b"])
def test_malformed_specs(make: Make, raw: str) -> None:
    with pytest.raises(BadSpec):
        make("gist").parse(raw)


async def test_the_git_server_does_not_know_what_is_secret(make: Make, forge: Stub, git: GitServer) -> None:
    forge.everything = Page(429, {"Retry-After": "1"})
    repo = Repo(git.root / "u/abc.git")
    if not repo.path.exists():
        repo = Repo.create(git.root, "u/abc.git")
        repo.commit({"a": "1"})
    strict, loose = make("gist"), make("gist", secret_gists=True)
    with pytest.raises(RateLimited):
        await strict.resolve(strict.parse("u/abc"))
    assert (await loose.resolve(loose.parse("u/abc"))).ref == repo.id("HEAD")
    with pytest.raises(RateLimited):
        await loose.resolve(loose.parse("u/abc/dev"))
