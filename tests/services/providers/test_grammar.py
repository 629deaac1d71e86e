"""What specs are made of: refs as git defines them, commit ids, git addresses; and that nothing else comes through."""

import shutil
import subprocess
from random import Random
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.errors import BadRequest, BadSpec
from services.names import image_name
from services.providers import TABLE, Provider, make_providers
from services.providers.grammar import PROTOCOLS, checked_ref, commit_id, git_url, looks_abbreviated
from services.settings import EgressSettings, ProviderSettings

GOOD = [
    "main", "HEAD", "v1.0", "feature/x", "a-b", "a--b", "1", "0.9.1", "x@y", "@x", "x@", "ü", "日本", "a%b", "a%20b", "a'b",
    "a\"b", "a;b", "a$b", "a&b", "a#b", "a!b", "a(b)", "a{b}", "a}b", "a,b", "a=b", "a+b", "a|b", "a<b", "lock", "x.lockx",
    "refs/heads/main", "pull/1/head", "a/-b", "%2F",
]
BAD = [
    "", "-", "-x", "--upload-pack=x", "-/x", ".", "..", "a..b", "a/../b", ".a", "a/.b", "a.", "a/", "/a", "a//b", "a.lock",
    "a.lock/b", "@", "a@{b", "a b", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b", "a\tb", "a\nb", "a\0b", "a\x7fb", "a\x9fb",
    "\ud800", "x" * 256, "ü" * 128,
]


@pytest.mark.parametrize("ref", GOOD)
def test_good_refs(ref: str) -> None:
    assert checked_ref(ref) == ref


@pytest.mark.parametrize("ref", BAD)
def test_bad_refs_are_refused_with_the_reason(ref: str) -> None:
    with pytest.raises(BadSpec, match=r"cannot be the name of a branch, tag or commit: ") as caught:
        checked_ref(ref)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("ref", [ref for ref in GOOD + BAD if "\0" not in ref and "\ud800" not in ref])
def test_git_agrees(ref: str) -> None:
    accepted = subprocess.run(["git", "check-ref-format", "--allow-onelevel", ref], check=False).returncode == 0
    # We are stricter in what git takes for an option, in length, and in control characters beyond ASCII.
    if ref in GOOD:
        assert accepted
    elif not ref.startswith("-") and len(ref) < 128 and "\x9f" not in ref:
        assert not accepted


def test_commit_ids() -> None:
    sha = "0123456789abcdef0123456789abcdef01234567"
    assert commit_id(sha) == sha == commit_id(sha.upper())
    for other in (sha[:39], f"{sha}0", f"{sha};x", f"{sha}\n", f" {sha}", sha.replace("0", "g", 1), "", "٠" * 40):
        assert commit_id(other) is None
    assert looks_abbreviated("abc1234")
    assert not looks_abbreviated("main")


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(max_size=80))
@example("https://exa\u2100mple.org/r")
@example("https://example.org\\@evil.example/r")
@example("http://a@b@c/r")
def test_no_text_makes_a_dangerous_address(text: str) -> None:
    try:
        url = git_url(text)
    except BadRequest as error:
        assert str(error)  # noqa: PT017
        return
    assert url.protocol in PROTOCOLS
    for remote in (url.at(url.host), url.text):
        assert remote.startswith(f"{url.protocol}://")
        assert not any(c < " " or c == "\\" for c in remote)
    parts = urlsplit(url.at(url.host))
    assert parts.hostname == url.host
    assert parts.password is None
    assert parts.username is None or url.protocol == "ssh"
    assert not url.host.startswith("-")


def _everything() -> dict[str, Provider]:
    enabled = {"enabled": sorted(TABLE), "gitea_host": "git.example.org"}
    return make_providers(ProviderSettings.model_validate(enabled), EgressSettings.model_validate({}))


PROVIDERS = _everything()
_piece = st.one_of(
    st.text(max_size=12), st.sampled_from(["..", ".", "-x", "--", "%2F", "%00", "%0a", "HEAD", "a" * 40, "A" * 40, "https:", ""]),
    st.sampled_from([quote(url, safe="") for url in ("https://example.org/r", "git@h.example:p", "file:///x", "ext::x")]),
)


@settings(max_examples=1000, deadline=None, database=None)
@given(st.sampled_from(sorted(PROVIDERS)), st.lists(_piece, min_size=1, max_size=5))
def test_specs_are_read_or_refused_and_never_become_options(prefix: str, pieces: list[str]) -> None:
    raw = "/".join(pieces)
    provider = PROVIDERS[prefix]
    try:
        spec = provider.parse(raw)
    except BadRequest as error:
        assert error.sentence.isprintable()  # noqa: PT017
        return
    assert not spec.ref.startswith("-")
    assert not spec.repo.startswith("-")
    assert spec.raw == raw.rstrip("/")
    resolved = provider.pinned(spec)
    if resolved is not None:
        assert commit_id(resolved.ref) == resolved.ref
        assert resolved.repo_url.split("://")[0] in PROTOCOLS
        assert provider.parse(resolved.spec).ref == resolved.ref
        assert len(image_name("", resolved.slug, resolved.ref).partition(":")[0]) <= 255


def test_a_hundred_thousand_repositories_have_as_many_images() -> None:
    random = Random(2)
    words = ["".join(random.choices("abcXYZ019-_.", k=random.randint(1, 9))) for _ in range(2000)]
    slugs = {f"{random.choice(words)}-{random.choice(words)}" for _ in range(60_000)}
    slugs |= {f"https://{random.choice(words)}.org/{random.choice(words)}/{random.choice(words)}" for _ in range(60_000)}
    assert len(slugs) > 100_000
    assert len({image_name("r2d-", slug, "a" * 40) for slug in slugs}) == len(slugs)
