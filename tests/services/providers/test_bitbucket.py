"""Bitbucket, through git alone."""

import pytest

from services.errors import BadSpec
from services.providers.links import read_link
from tests.gitserver import GitServer, Repo
from tests.services.providers.conftest import Make

SHA = "0123456789abcdef0123456789abcdef01234567"


async def test_refs_of_a_real_server(make: Make, git: GitServer, repo: Repo) -> None:
    bitbucket = make("bitbucket")
    resolved = await bitbucket.resolve(bitbucket.parse("o/plain/feature%2Fx"))
    commit = repo.id("feature/x")
    assert (resolved.ref, resolved.branch) == (commit, "refs/heads/feature/x")
    assert resolved.repo_url == f"{git.address}/o/plain.git"
    assert resolved.ref_url == f"{git.address}/o/plain/src/{commit}/"
    assert resolved.spec == f"o/plain/{commit}"
    assert resolved.slug == "bitbucket/127.0.0.1/o/plain"


@pytest.mark.parametrize("raw", ["o", "o/r", "../r/x", "o/-r/x", "o/r/-x", "o%2F/r/x"])
def test_malformed_specs(make: Make, raw: str) -> None:
    with pytest.raises(BadSpec):
        make("bitbucket").parse(raw)


@pytest.mark.parametrize(
    ("text", "repo", "ref", "opens"),
    [
        ("https://bitbucket.org/o/r", "o/r", "HEAD", ""),
        ("git@bitbucket.org:o/r.git", "o/r", "HEAD", ""),
        ("https://bitbucket.org/o/r/src/dev/docs", "o/r", "dev", "lab/tree/docs"),
        ("https://bitbucket.org/o/r/src/feature%2Fx/b.ipynb", "o/r", "feature/x", "doc/tree/b.ipynb"),
        ("https://bitbucket.org/o/r/branch/feature/x", "o/r", "feature/x", ""),
        (f"https://bitbucket.org/o/r/commits/{SHA}", "o/r", SHA, ""),
        ("https://bitbucket.org/o/r/pull-requests/1", "o/r", "HEAD", ""),
    ],
)
def test_links(make: Make, text: str, repo: str, ref: str, opens: str) -> None:
    offered = {"bitbucket": make("bitbucket", bitbucket_host="bitbucket.org"), "git": make("git")}
    link = read_link(text, offered)
    assert (link.provider, link.repo, link.ref, link.opens) == ("bitbucket", repo, ref, opens)
