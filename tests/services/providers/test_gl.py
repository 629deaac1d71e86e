"""GitLab, against what its API answered when it was recorded."""

import pytest

from services.errors import BadSpec, RateLimited, Unresolved
from services.providers.gl import GitLab
from services.settings import EgressSettings, ProviderSettings
from tests.gitserver import Fault, GitServer, Repo
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Page, Stub

FOSS = "gitlab-org%2Fgitlab-foss"


@pytest.mark.parametrize(
    ("raw", "repo", "ref"),
    [
        ("g%2Fp/HEAD", "g/p", "HEAD"),
        ("g%2fs%2Fs2%2Fp.git/feature/x", "g/s/s2/p", "feature/x"),
        ("g%2Fp/feature%2Fx/", "g/p", "feature/x"),
        (f"g%2Fp/{'A' * 40}", "g/p", "a" * 40),
        ("g%2Fp_-.+x/v1", "g/p_-.+x", "v1"),
    ],
)
def test_specs(make: Make, raw: str, repo: str, ref: str) -> None:
    spec = make("gl").parse(raw)
    assert (spec.repo, spec.ref, spec.pinned) == (repo, ref, len(ref) == 40)


@pytest.mark.parametrize("raw", ["g%2Fp", "g/p/HEAD", "g", "g%2F..%2Fp/x", "g%2F-p/x", "g%2Fp/-x", "g%2F%2Fp/x", "g%00%2Fp/x"])
def test_malformed_specs(make: Make, raw: str) -> None:
    with pytest.raises(BadSpec):
        make("gl").parse(raw)


@pytest.mark.parametrize(
    ("ref", "commit"),
    [("HEAD", "2a9d2b119a87b8411993096a22d41a3eb857e8c1"), ("v10.0.6", "b3344b7f17c335a817c5d7608c5e47fd7cabc023")],
)
async def test_refs_as_recorded(make: Make, forge: Stub, git: GitServer, ref: str, commit: str) -> None:
    gitlab = make("gl")
    resolved = await gitlab.resolve(gitlab.parse(f"{FOSS}/{ref}"))
    assert resolved.ref == commit
    assert resolved.spec == f"{FOSS}/{commit}"
    assert resolved.ref_url == f"{git.address}/gitlab-org/gitlab-foss/tree/{commit}"
    assert resolved.repo_url == f"{git.address}/gitlab-org/gitlab-foss.git"
    assert resolved.slug == "gitlab_-org-gitlab_-foss"
    assert forge.paths == [f"/api/v4/projects/{FOSS}/repository/commits/{ref}"]


async def test_the_real_hosts_are_the_default() -> None:
    gitlab = GitLab(ProviderSettings(), EgressSettings())
    resolved = gitlab.pinned(gitlab.parse(f"{FOSS}/{'a' * 40}"))
    assert resolved is not None
    assert resolved.repo_url == "https://gitlab.com/gitlab-org/gitlab-foss.git"


async def test_a_ref_with_slashes_is_escaped_for_the_api(make: Make, forge: Stub) -> None:
    forge.page("/api/v4/projects/g%2Fp/repository/commits/feature%2Fx", {"id": "c" * 40})
    gitlab = make("gl")
    assert (await gitlab.resolve(gitlab.parse("g%2Fp/feature/x"))).ref == "c" * 40


async def test_what_is_not_there(make: Make, forge: Stub) -> None:
    forge.page("/api/v4/projects/no%2Fthing/repository/commits/HEAD", {"message": "404 Project Not Found"}, 404)
    gitlab = make("gl")
    with pytest.raises(Unresolved) as caught:
        await gitlab.resolve(gitlab.parse(f"{FOSS}/nosuchref"))
    assert caught.value.sentence == (
        f"Could not resolve ref for gl:{FOSS}/nosuchref. Double check your URL and that your repo is public. "
        'gitlab-org/gitlab-foss has no branch, tag or commit "nosuchref".'
    )
    with pytest.raises(Unresolved, match="GitLab knows no public project no/thing"):
        await gitlab.resolve(gitlab.parse("no%2Fthing/HEAD"))


async def test_the_git_server_is_asked_when_the_limit_is_spent(make: Make, forge: Stub, git: GitServer) -> None:
    forge.everything = Page(429, {"RateLimit-Reset": "4102444800"})
    git.faults["o/r.git"] = Fault(status=301, location=git.url("o/r"))
    gitlab = make("gl")
    resolved = await gitlab.resolve(gitlab.parse("o%2Fr/v1"))
    assert resolved.ref == Repo(git.root / "o/r").id("v1")
    git.faults["o/r.git"] = Fault(status=403)
    with pytest.raises(RateLimited, match=r"^GitLab rate limit exceeded\. Try again in 60 minutes\.$"):
        await gitlab.resolve(gitlab.parse("o%2Fr/v1"))


async def test_a_token_goes_in_a_header_and_nowhere_else(make: Make, forge: Stub) -> None:
    gitlab = make("gl", gitlab_token="canary")
    await gitlab.resolve(gitlab.parse(f"{FOSS}/HEAD"))
    assert forge.requests[0].headers["PRIVATE-TOKEN"] == "canary"
    assert "canary" not in forge.requests[0].raw_path
