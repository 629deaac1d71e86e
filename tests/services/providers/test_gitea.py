"""Gitea, Forgejo and Codeberg, through git alone."""

import pytest

from services.errors import BadSpec, Misconfigured
from services.providers.links import read_link
from tests.gitserver import GitServer, Repo
from tests.services.providers.conftest import Make

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("prefix", ["codeberg", "gitea"])
async def test_refs_of_a_real_server(make: Make, git: GitServer, repo: Repo, prefix: str) -> None:
    gitea = make(prefix)
    resolved = await gitea.resolve(gitea.parse("o/plain.git/v1"))
    commit = repo.id("v1")
    assert (resolved.ref, resolved.branch) == (commit, "refs/tags/v1")
    assert resolved.repo_url == f"{git.address}/o/plain.git"
    assert resolved.ref_url == f"{git.address}/o/plain/src/commit/{commit}"
    assert resolved.slug == f"{prefix}/127.0.0.1/o/plain"


@pytest.mark.parametrize(
    ("text", "provider", "ref", "opens"),
    [
        ("https://codeberg.org/o/r", "codeberg", "HEAD", ""),
        ("https://codeberg.org/o/r/src/branch/dev/docs", "codeberg", "dev", "lab/tree/docs"),
        ("https://codeberg.org/o/r/src/tag/v1/b.ipynb", "codeberg", "v1", "doc/tree/b.ipynb"),
        (f"https://codeberg.org/o/r/commit/{SHA}", "codeberg", SHA, ""),
        ("https://codeberg.org/o/r/releases/tag/v1", "codeberg", "v1", ""),
        ("https://codeberg.org/o/r/pulls/3", "codeberg", "pull/3/head", ""),
        ("https://git.example.org:3000/o/r/src/branch/dev/docs", "gitea", "dev", "lab/tree/docs"),
        ("https://other.example.org/o/r/src/branch/dev/docs", "git", "dev", "lab/tree/docs"),
    ],
)
def test_links(make: Make, text: str, provider: str, ref: str, opens: str) -> None:
    offered = {
        "codeberg": make("codeberg", codeberg_host="codeberg.org"), "gitea": make("gitea", gitea_host="git.example.org:3000"),
        "git": make("git"),
    }
    link = read_link(text, offered)
    assert (link.provider, link.ref, link.opens) == (provider, ref, opens)


def test_what_is_wrong_is_named(make: Make) -> None:
    with pytest.raises(Misconfigured, match=r"providers\.gitea_host is empty"):
        make("gitea", gitea_host="")
    with pytest.raises(BadSpec, match="does not name a repository of Codeberg"):
        make("codeberg").parse("o/%2F/HEAD")
