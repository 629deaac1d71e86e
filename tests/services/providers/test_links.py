"""Whatever people paste is read as they mean it, or answered with a sentence that shows what to write."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import BadRequest, BadSpec, ForbiddenAddress, UnknownProvider
from services.providers import make_providers
from services.providers.links import read_link
from services.settings import EgressSettings, ProviderSettings

PROVIDERS = make_providers(
    ProviderSettings.model_validate({"enabled": ["gh", "gist", "git", "gl"]}), EgressSettings.model_validate({"private": True})
)
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "provider", "repo", "ref", "opens"),
    [
        ("o/r", "gh", "o/r", "HEAD", ""),
        (" o/r.git/\n", "gh", "o/r", "HEAD", ""),
        ("o/r@dev", "gh", "o/r", "dev", ""),
        ("o/r@feature/x", "gh", "o/r", "feature/x", ""),
        ("github.com/o/r", "gh", "o/r", "HEAD", ""),
        ("https://github.com/o/r", "gh", "o/r", "HEAD", ""),
        ("https://www.github.com/o/r/?tab=readme-ov-file#usage", "gh", "o/r", "HEAD", ""),
        ("http://GitHub.com/o/r.git", "gh", "o/r", "HEAD", ""),
        ("<https://github.com/o/r>", "gh", "o/r", "HEAD", ""),
        ("https://github.com/o/r/tree/dev", "gh", "o/r", "dev", ""),
        ("https://github.com/o/r/tree/dev/docs/a", "gh", "o/r", "dev", "lab/tree/docs/a"),
        ("https://github.com/o/r/tree/feature%2Fx/docs", "gh", "o/r", "feature/x", "lab/tree/docs"),
        ("https://github.com/o/r/blob/dev/a/b.ipynb", "gh", "o/r", "dev", "doc/tree/a/b.ipynb"),
        ("https://github.com/o/r/blob/dev/My%20file.ipynb", "gh", "o/r", "dev", "doc/tree/My%20file.ipynb"),
        ("https://github.com/o/r/blob/dev/My file.ipynb", "gh", "o/r", "dev", "doc/tree/My%20file.ipynb"),
        ("https://github.com/o/r/raw/dev/b.ipynb", "gh", "o/r", "dev", "doc/tree/b.ipynb"),
        (f"https://github.com/o/r/commit/{SHA}", "gh", "o/r", SHA, ""),
        ("https://github.com/o/r/commits/dev", "gh", "o/r", "dev", ""),
        ("https://github.com/o/r/releases/tag/v1.0", "gh", "o/r", "v1.0", ""),
        ("https://github.com/o/r/pull/12/files", "gh", "o/r", "pull/12/head", ""),
        ("https://github.com/o/r/issues/3", "gh", "o/r", "HEAD", ""),
        ("https://raw.githubusercontent.com/o/r/dev/a/b.ipynb", "gh", "o/r", "dev", "doc/tree/a/b.ipynb"),
        ("https://raw.githubusercontent.com/o/r/refs/heads/dev/b.ipynb", "gh", "o/r", "dev", "doc/tree/b.ipynb"),
        ("https://nbviewer.org/github/o/r/blob/dev/b.ipynb", "gh", "o/r", "dev", "doc/tree/b.ipynb"),
        ("https://colab.research.google.com/github/o/r/blob/dev/b.ipynb", "gh", "o/r", "dev", "doc/tree/b.ipynb"),
        ("git@github.com:o/r.git", "gh", "o/r", "HEAD", ""),
        ("ssh://git@github.com/o/r.git", "gh", "o/r", "HEAD", ""),
        ("git://github.com/o/r.git", "gh", "o/r", "HEAD", ""),
        ("git+https://github.com/o/r.git", "gh", "o/r", "HEAD", ""),
        ("git clone https://github.com/o/r.git mine", "gh", "o/r", "HEAD", ""),
        ("git clone git@github.com:o/r.git", "gh", "o/r", "HEAD", ""),
        ("https://gist.github.com/u/0a1b", "gist", "u/0a1b", "HEAD", ""),
        (f"https://gist.github.com/u/0a1b/{SHA}#file-x", "gist", "u/0a1b", SHA, ""),
        ("https://nbviewer.org/gist/u/0a1b", "gist", "u/0a1b", "HEAD", ""),
        ("https://gitlab.com/g/p", "gl", "g/p", "HEAD", ""),
        ("https://gitlab.com/g/s/p.git", "gl", "g/s/p", "HEAD", ""),
        ("git@gitlab.com:g/s/p.git", "gl", "g/s/p", "HEAD", ""),
        ("https://gitlab.com/g/p/-/tree/dev/docs?ref_type=heads", "gl", "g/p", "dev", "lab/tree/docs"),
        ("https://gitlab.com/g/s/p/-/blob/dev/b.ipynb", "gl", "g/s/p", "dev", "doc/tree/b.ipynb"),
        (f"https://gitlab.com/g/p/-/commit/{SHA}", "gl", "g/p", SHA, ""),
        ("https://gitlab.com/g/p/-/tags/v1", "gl", "g/p", "v1", ""),
        ("https://gitlab.com/g/p/-/merge_requests/7/diffs", "gl", "g/p", "merge-requests/7/head", ""),
        ("https://example.org/r.git", "git", "https://example.org/r.git", "HEAD", ""),
        ("https://example.org/r/", "git", "https://example.org/r", "HEAD", ""),
        ("example.org/r.git", "git", "https://example.org/r.git", "HEAD", ""),
        ("localhost:3000/r.git", "git", "http://localhost:3000/r.git", "HEAD", ""),
        ("http://127.0.0.1:3000/r.git", "git", "http://127.0.0.1:3000/r.git", "HEAD", ""),
        ("git@example.org:g/r.git", "git", "ssh://git@example.org/g/r.git", "HEAD", ""),
        ("git://example.org/r", "git", "git://example.org/r", "HEAD", ""),
        ("https://git.example.org/g/p/-/blob/dev/b.ipynb", "git", "https://git.example.org/g/p", "dev", "doc/tree/b.ipynb"),
        ("https://codeberg.org/o/r/src/branch/dev/docs", "git", "https://codeberg.org/o/r", "dev", "lab/tree/docs"),
        ("https://codeberg.org/o/r/src/tag/v1/b.ipynb", "git", "https://codeberg.org/o/r", "v1", "doc/tree/b.ipynb"),
        ("https://bitbucket.org/o/r/src/dev/b.ipynb", "git", "https://bitbucket.org/o/r", "dev", "doc/tree/b.ipynb"),
        ("https://mybinder.org/v2/gh/o/r/HEAD", "gh", "o/r", "HEAD", ""),
        ("https://hub.example.org/binder/v2/gh/o/r/a%2Fb?urlpath=lab%2Ftree%2Fx", "gh", "o/r", "a/b", "lab/tree/x"),
        ("https://mybinder.org/v2/gh/o/r/dev?urlpath=x&filepath=y&labpath=a%20b.ipynb", "gh", "o/r", "dev", "doc/tree/a%20b.ipynb"),
        ("https://mybinder.org/v2/gh/o/r/dev?filepath=dir/", "gh", "o/r", "dev", "tree/dir"),
        ("https://h/v2/gh/o/r/dev?urlpath=git-pull%3Frepo%3Dhttps%253A%252F%252Fx", "gh", "o/r", "dev", "git-pull?repo=https%3A%2F%2Fx"),
        ("https://mybinder.org/v2/gl/g%2Fp/dev/", "gl", "g/p", "dev", ""),
        ("https://mybinder.org/v2/git/https%3A%2F%2Fexample.org%2Fr/dev", "git", "https://example.org/r", "dev", ""),
        ("https://mybinder.org/build/gh/o/r/dev", "gh", "o/r", "dev", ""),
        ("[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/o/r/HEAD)", "gh", "o/r", "HEAD", ""),
        (".. image:: https://mybinder.org/badge_logo.svg\n :target: https://mybinder.org/v2/gh/o/r/HEAD", "gh", "o/r", "HEAD", ""),
        ('<a href="https://mybinder.org/v2/gh/o/r/HEAD"><img src="https://x.org/b.svg"></a>', "gh", "o/r", "HEAD", ""),
    ],
)
def test_links(text: str, provider: str, repo: str, ref: str, opens: str) -> None:
    link = read_link(text, PROVIDERS)
    assert (link.provider, link.repo, link.ref, link.opens) == (provider, repo, ref, opens)
    spec = PROVIDERS[provider].parse(link.spec)
    assert (spec.repo, spec.ref) == (repo, ref)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", BadSpec, "Paste the address of a repository"),
        ("word", BadSpec, "no link that can be launched"),
        ("some words", BadSpec, "no link that can be launched"),
        ("../x", BadSpec, "no link that can be launched"),
        ("a/b/c", BadSpec, 'could be the branch "c" of a/b on GitHub, or a project in a group on GitLab; write "a/b@c"'),
        ("a/b/c/d", BadSpec, 'write "a/b@c/d"'),
        ("o/r@-x", BadSpec, 'begins with "-"'),
        ("x" * 5000, BadSpec, "too long"),
        ("https://github.com/o", BadSpec, r"https://github\.com/user/repository"),
        ("https://gist.github.com/0a1b", BadSpec, r"https://gist\.github\.com/user/gistid"),
        ("https://gitlab.com/g", BadSpec, "does not name a GitLab project"),
        ("https://github.com/a/b and https://github.com/c/d", BadSpec, "more than one link"),
        ("https://example.org/", BadSpec, "no path after its host"),
        ("https://github.com/o/r/tree/-x", BadSpec, 'begins with "-"'),
        ("https://mybinder.org/v2/gh/o/r", BadSpec, 'Did you mean "o/r/HEAD"'),
        ("https://mybinder.org/v2/nosuch/x/y", UnknownProvider, 'kind "nosuch" are not offered here; offered are GitHub,'),
        ("https://mybinder.org/v2/swh/swh:1:x/", UnknownProvider, "not offered"),
        ("file:///etc/passwd", ForbiddenAddress, "Unsupported git url file:///etc/passwd, protocol file not in"),
        ("ext::sh -c id", ForbiddenAddress, "protocol ext not in"),
        ("ftp://example.org/r", ForbiddenAddress, "protocol ftp not in"),
        ("javascript:alert(1)", ForbiddenAddress, "protocol javascript not in"),
        ("http://127.1/r", ForbiddenAddress, "not a valid host name"),
        ("https://bücher.example/r", ForbiddenAddress, r"xn--bcher-kva\.example"),
        ("https://user:secret@example.org/r.git", BadSpec, "carries a user name or password"),
        ("https://secret@github.com/o/r", BadSpec, "carries a user name or password"),
        ("ssh://user:secret@example.org/r", BadSpec, "carries a user name or password"),
        ("user:secret@example.org/r", BadSpec, None),
        ("ftp://user:secret@example.org/r", ForbiddenAddress, None),
        ("git clone https://user:secret@example.org/r.git", BadSpec, "carries a user name or password"),
    ],
)
def test_what_cannot_be_read_is_explained(text: str, error: type[BadRequest], words: str | None) -> None:
    offered = {prefix: PROVIDERS[prefix] for prefix in ("gh", "gist", "git", "gl")}
    with pytest.raises(error, match=words) as caught:
        read_link(text, offered)
    assert "secret" not in str(caught.value)


def test_a_directory_that_may_be_a_branch_is_noted() -> None:
    assert read_link("https://github.com/o/r/tree/feature/x", PROVIDERS).note == (
        'Read as the directory "x" of "feature"; if that is one branch, write its slashes as %2F.'
    )
    assert read_link("https://github.com/o/r/tree/feature", PROVIDERS).note == ""


@pytest.mark.parametrize("text", ["10.1234/abc", "https://doi.org/10.1234/abc", "doi:10.1234/abc", "https://zenodo.org/records/1"])
def test_records_where_they_are_not_offered(text: str) -> None:
    offered = {prefix: PROVIDERS[prefix] for prefix in ("gh", "git")}
    with pytest.raises(BadSpec, match="is a record, not a git repository"):
        read_link(text, offered)


def test_in_production_an_address_inside_is_refused_at_once() -> None:
    strict = make_providers(ProviderSettings.model_validate({"enabled": ["git"]}), EgressSettings.model_validate({}))
    for text in ("http://localhost:3000/r.git", "https://10.0.0.1/r", "http://169.254.169.254/r", "git@127.0.0.1:r"):
        with pytest.raises(ForbiddenAddress):
            read_link(text, strict)


def test_where_fewer_forges_are_offered() -> None:
    github = {"gh": PROVIDERS["gh"]}
    with pytest.raises(BadSpec, match=r"Repositories on gitlab\.com are not offered here; offered are GitHub\."):
        read_link("https://gitlab.com/g/p", github)
    with pytest.raises(BadSpec, match="does not say on which forge"):
        read_link("o/r", {"git": PROVIDERS["git"]})


@settings(max_examples=300, deadline=None, database=None)
@given(st.sampled_from(["", "https://", "https://github.com/", "https://example.org/v2/"]), st.text(max_size=40))
def test_any_text_is_read_or_refused(start: str, text: str) -> None:
    try:
        link = read_link(start + text, PROVIDERS)
    except BadRequest as error:
        assert error.sentence.isprintable()  # noqa: PT017
        return
    assert PROVIDERS[link.provider].parse(link.spec).repo == link.repo
