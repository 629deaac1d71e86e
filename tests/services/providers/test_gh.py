"""GitHub, against what its API answered when it was recorded."""

import time

import pytest
from aiohttp import encode_basic_auth

from services.errors import BadSpec, Forbidden, ForbiddenAddress, RateLimited, Unreachable, Unresolved
from services.providers.gh import GitHub
from tests.gitserver import Fault, GitServer, Repo
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Page, Stub

Z2JH = "jupyterhub/zero-to-jupyterhub-k8s"
SHA = "f7f3ff6d1bf708bdc12e5f10e18b2a90a4795603"


@pytest.mark.parametrize(
    ("raw", "repo", "ref", "pinned"),
    [
        ("o/r/HEAD", "o/r", "HEAD", False),
        ("o/r/HEAD/", "o/r", "HEAD", False),
        ("o/r.git/main", "o/r", "main", False),
        ("o/r/feature/x", "o/r", "feature/x", False),
        ("o/r/feature%2Fx", "o/r", "feature/x", False),
        ("o/r/feature%2Fx/y", "o/r", "feature/x/y", False),
        ("O-rg/R_e.po/v1.0", "O-rg/R_e.po", "v1.0", False),
        (f"o/r/{SHA}", "o/r", SHA, True),
        (f"o/r/{SHA.upper()}", "o/r", SHA, True),
        (f"o/r/{SHA}x", "o/r", f"{SHA}x", False),
        (f"o/r/{SHA[:39]}", "o/r", SHA[:39], False),
        ("o/r/ünï", "o/r", "ünï", False),
    ],
)
def test_specs(make: Make, raw: str, repo: str, ref: str, pinned: bool) -> None:
    spec = make("gh").parse(raw)
    assert (spec.repo, spec.ref, spec.pinned, spec.raw) == (repo, ref, pinned, raw.rstrip("/"))


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("o/r", 'Spec is not of the form "user/repo/ref", provided: "o/r". Did you mean "o/r/HEAD"?'),
        ("o/r/", 'Spec is not of the form "user/repo/ref", provided: "o/r". Did you mean "o/r/HEAD"?'),
        ("o/master", 'Spec is not of the form "user/repo/ref", provided: "o/master".'),
        ("o", 'Spec is not of the form "user/repo/ref", provided: "o".'),
        ("o/r/-x", '"-x" cannot be the name of a branch, tag or commit: it begins with "-".'),
        ("../r/x", "The link does not name a user of GitHub; it has the form user/repository/ref."),
        ("o/../x", "The link does not name a repository of GitHub; it has the form user/repository/ref."),
        ("-o/r/x", "The link does not name a user of GitHub; it has the form user/repository/ref."),
        ("o/r%2F../x", "The link does not name a repository of GitHub; it has the form user/repository/ref."),
    ],
)
def test_malformed_specs(make: Make, raw: str, sentence: str) -> None:
    with pytest.raises(BadSpec) as caught:
        make("gh").parse(raw)
    assert caught.value.sentence == sentence


@pytest.mark.parametrize(
    ("ref", "sha"),
    [("0.9.1", "38e50c71130fcf56655685f0992f4f125bef3879"), ("HEAD", "4931711ef6661f45f9fbba6780200d36d735dde8")],
)
async def test_refs_as_recorded(make: Make, forge: Stub, git: GitServer, ref: str, sha: str) -> None:
    github = make("gh")
    resolved = await github.resolve(github.parse(f"{Z2JH}/{ref}"))
    assert resolved.ref == sha
    assert resolved.spec == f"{Z2JH}/{sha}"
    assert resolved.ref_url == f"{git.address}/{Z2JH}/tree/{sha}"
    assert resolved.repo_url == f"{git.address}/{Z2JH}"
    assert resolved.slug == "jupyterhub-zero-to-jupyterhub-k8s"
    assert (resolved.notice, resolved.branch) == ("", ref)
    assert forge.paths == [f"/repos/{Z2JH}/commits/{ref}"]
    assert isinstance(github, GitHub)
    assert github.api.remaining in (4933, 4934)


async def test_the_real_hosts_are_the_default() -> None:
    from services.settings import EgressSettings, ProviderSettings

    github = GitHub(ProviderSettings(), EgressSettings())
    resolved = github.pinned(github.parse(f"{Z2JH}/{SHA}"))
    assert resolved is not None
    assert resolved.repo_url == f"https://github.com/{Z2JH}"
    assert resolved.ref_url == f"https://github.com/{Z2JH}/tree/{SHA}"


async def test_a_commit_id_needs_no_request(make: Make, forge: Stub) -> None:
    github = make("gh")
    spec = github.parse(f"o/r/{SHA.upper()}")
    assert (await github.resolve(spec)) == github.pinned(spec)
    assert github.pinned(github.parse("o/r/main")) is None
    assert forge.requests == []


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (f"{Z2JH}/nosuchref", f'{Z2JH} has no branch, tag or commit "nosuchref".'),
        (f"{Z2JH}/v0.1.2.3.4.5.6", f'{Z2JH} has no branch, tag or commit "v0.1.2.3.4.5.6".'),
        ("nobody/nothing/HEAD", "GitHub knows no public repository nobody/nothing."),
        ("o/empty/HEAD", "The repository o/empty is empty; push a commit to it first."),
    ],
)
async def test_what_is_not_there(make: Make, forge: Stub, raw: str, detail: str) -> None:
    forge.page("/repos/o/empty/commits/HEAD", {"message": "Git Repository is empty."}, 409)
    github = make("gh")
    with pytest.raises(Unresolved) as caught:
        await github.resolve(github.parse(raw))
    text = f"Could not resolve ref for gh:{raw}. Double check your URL and that your repo is public. {detail}"
    assert caught.value.sentence == text
    with pytest.raises(Unresolved):
        await github.resolve(github.parse(raw))
    assert len(forge.requests) == 1, "an absence is remembered"


async def test_a_master_that_is_gone_leads_to_head(make: Make) -> None:
    github = make("gh")
    resolved = await github.resolve(github.parse(f"{Z2JH}/master"))
    assert resolved.ref == "4931711ef6661f45f9fbba6780200d36d735dde8"
    assert resolved.notice == (
        f"Could not resolve ref for gh:{Z2JH}/master. Double check your URL and that your repo is public. "
        'GitHub has changed default branches from "master" to "main". '
        "Tip: HEAD will always resolve to a repository's default branch.\n"
        "Trying again with HEAD instead of master. Please update your links."
    )
    resolved = await github.resolve(github.parse(f"{Z2JH}/main"))
    assert "from" not in resolved.notice
    assert resolved.notice.endswith("\nTrying again with HEAD instead of main. Please update your links.")


async def test_master_of_nothing_is_not_resolved(make: Make) -> None:
    github = make("gh")
    with pytest.raises(Unresolved, match=r"^Could not resolve ref for gh:no/thing/master\..* Tip: HEAD"):
        await github.resolve(github.parse("no/thing/master"))


async def test_an_etag_makes_asking_again_cheap(make: Make, forge: Stub) -> None:
    github = make("gh")
    path = f"/repos/{Z2JH}/commits/HEAD"
    for _ in range(3):
        assert (await github.resolve(github.parse(f"{Z2JH}/HEAD"))).ref.startswith("4931711")
    etag = forge.pages[path].headers["Etag"]
    assert [request.headers.get("If-None-Match") for request in forge.requests] == [None, etag, etag]
    forge.page(path, {"sha": "a" * 40}, Etag='"new"')
    assert (await github.resolve(github.parse(f"{Z2JH}/HEAD"))).ref == "a" * 40


async def test_a_renamed_repository_is_followed(make: Make, forge: Stub) -> None:
    forge.pages["/repos/old/name/commits/HEAD"] = Page(301, {"Location": f"{forge.url}/repositories/1/commits/HEAD"})
    forge.page("/repositories/1/commits/HEAD", {"sha": "b" * 40})
    github = make("gh")
    assert (await github.resolve(github.parse("old/name/HEAD"))).ref == "b" * 40


def limited(seconds: int) -> Page:
    return Page(
        403, {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": str(int(time.time()) + seconds)}
    )


@pytest.mark.parametrize("page", [None, Page(429, {"Retry-After": "600"}), Page(403, {"Retry-After": "600"}), Page(500)])
async def test_the_git_server_is_asked_when_the_api_will_not_answer(
    make: Make, forge: Stub, git: GitServer, page: Page | None
) -> None:
    repo = Repo(git.root / "o/r")
    forge.everything = page = page or limited(600)
    github = make("gh")
    for ref, sha, branch in (
        ("HEAD", repo.id("HEAD"), "refs/heads/main"),
        ("v1", repo.id("v1"), "refs/tags/v1"),
        ("feature/x", repo.id("HEAD~1"), "refs/heads/feature/x"),
    ):
        resolved = await github.resolve(github.parse(f"o/r/{ref}"))
        assert (resolved.ref, resolved.branch) == (sha, branch)
    assert len(forge.requests) == (1 if page.status != 500 else 3), "a spent limit is respected"
    with pytest.raises(Unresolved, match='There is no branch or tag "nosuch"'):
        await github.resolve(github.parse("o/r/nosuch"))


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 5), (299, 5), (390, 10), (3600, 60), (90000, 60)])
async def test_only_if_that_fails_too_the_limit_is_told(
    make: Make, forge: Stub, git: GitServer, seconds: int, minutes: int
) -> None:
    forge.everything = limited(seconds)
    git.faults["o/r"] = Fault(status=401)
    github = make("gh")
    for ref in ("HEAD", "abc1234"):
        with pytest.raises(RateLimited) as caught:
            await github.resolve(github.parse(f"o/r/{ref}"))
        assert caught.value.sentence == f"GitHub rate limit exceeded. Try again in {minutes} minutes."


async def test_an_abbreviated_commit_is_the_apis_to_know(make: Make, forge: Stub) -> None:
    forge.everything = limited(60)
    github = make("gh")
    with pytest.raises(RateLimited):
        await github.resolve(github.parse("o/r/abc1234"))


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, Forbidden, "does not accept the token that this service is configured with"),
        (403, Forbidden, "refuses to show this repository"),
        (451, Forbidden, "refuses to show this repository"),
    ],
)
async def test_refusals(make: Make, forge: Stub, status: int, error: type[Exception], words: str) -> None:
    forge.everything = Page(status, {}, "{}")
    github = make("gh")
    with pytest.raises(error, match=words):
        await github.resolve(github.parse("o/r/HEAD"))


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"sha": "x"}', '{"sha": null}'])
async def test_nonsense_is_not_believed(make: Make, forge: Stub, git: GitServer, body: str) -> None:
    forge.everything = Page(200, {}, body)
    git.faults["o/r"] = Fault(status=500)
    github = make("gh")
    with pytest.raises(Unreachable, match="try again later"):
        await github.resolve(github.parse("o/r/HEAD"))


async def test_the_api_cannot_lead_us_astray(make: Make, forge: Stub, git: GitServer) -> None:
    forge.everything = Page(302, {"Location": f"http://127.0.0.1:{git.port}/internal"})
    github = make("gh")
    with pytest.raises(ForbiddenAddress):
        await github.resolve(github.parse("o/r/HEAD"))
    assert git.requests == []


async def test_a_token_goes_in_a_header_and_nowhere_else(make: Make, forge: Stub) -> None:
    github = make("gh", github_token="canary")
    await github.resolve(github.parse(f"{Z2JH}/HEAD"))
    assert forge.requests[0].headers["Authorization"] == "token canary"
    assert "canary" not in forge.requests[0].raw_path


async def test_an_application_is_named_where_there_is_no_token(make: Make, forge: Stub) -> None:
    github = make("gh", github_client_id="app", github_client_secret="canary")
    await github.resolve(github.parse(f"{Z2JH}/HEAD"))
    assert forge.requests[0].headers["Authorization"] == encode_basic_auth("app", "canary")
