"""Any git repository, against real git servers."""

from ipaddress import ip_address
from urllib.parse import quote

import pytest

from services.egress import Address, Purpose, Rule
from services.errors import BadSpec, DockyardError, Forbidden, ForbiddenAddress, RateLimited, Unreachable, Unresolved
from services.providers.git_remote import GitRemote
from services.providers.grammar import git_url
from tests.gitserver import Fault, GitDaemon, GitServer, Repo
from tests.services.providers.conftest import Make

SHA = "0123456789012345678901234567890123456789"


def quoted(url: str) -> str:
    return quote(url, safe="")


@pytest.mark.parametrize(
    ("url", "repo"),
    [
        ("https://example.org/r", "https://example.org/r"),
        ("https://example.org/r.git", "https://example.org/r.git"),
        ("HTTPS://Example.org:8443/a/b/", "https://Example.org:8443/a/b/"),
        ("http://[2606:4700::1]:3000/r", "http://[2606:4700::1]:3000/r"),
        ("git://example.org/r", "git://example.org/r"),
        ("ssh://git@example.org:2222/r", "ssh://git@example.org:2222/r"),
        ("git@example.org:group/r.git", "ssh://git@example.org/group/r.git"),
        ("https://dev.azure.com/My%20Org/p/_git/r", "https://dev.azure.com/My%20Org/p/_git/r"),
    ],
)
def test_addresses(make: Make, url: str, repo: str) -> None:
    git = make("git")
    spec = git.parse(f"{quoted(url)}/feature%2Fx/y/")
    assert (spec.repo, spec.ref, spec.pinned) == (repo, "feature/x/y", False)
    pinned = git.pinned(git.parse(f"{quoted(url)}/{SHA.upper()}"))
    assert pinned is not None
    assert (pinned.ref, pinned.repo_url, pinned.ref_url, pinned.slug) == (SHA, repo, repo, repo)
    assert pinned.spec == f"{quoted(url)}/{SHA}"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://x", "Unsupported git url ftp://x, protocol ftp not in http, ssh, https, git"),
        ("file:///etc/passwd", "Unsupported git url file:///etc/passwd, protocol file not in http, ssh, https, git"),
        ("ext::sh -c id", "Unsupported git url ext::sh -c id, protocol ext not in http, ssh, https, git"),
        ("/etc/passwd", "Unsupported git url /etc/passwd, protocol  not in http, ssh, https, git"),
        ("--upload-pack=id", "Unsupported git url --upload-pack=id, protocol  not in http, ssh, https, git"),
        ("ftp://u:secret@x", "Unsupported git url, protocol ftp not in http, ssh, https, git"),
    ],
)
def test_other_protocols_are_refused(make: Make, url: str, sentence: str) -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        make("git").parse(f"{quoted(url)}/HEAD")
    assert caught.value.sentence == sentence


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@example.org/r", "https://secret@example.org/r", "http://:secret@example.org/r",
        "git://secret@example.org/r", "ssh://user:secret@example.org/r", "https://example.org/r?token=secret",
        "https://example.org/r#secret", "https://user:secret@/r", "https://user:secret@exa mple.org/r",
        "https://user:secret@example.org:99999/r", "https://user:sec\nret@example.org/r", "ftp://user:secret@example.org/r",
        "ext::user:secret@example.org", "https://user:secret@example.org",
    ],
)
@pytest.mark.parametrize("ref", ["/HEAD", "/-x", "/", ""])
def test_credentials_are_refused_and_not_repeated(make: Make, url: str, ref: str) -> None:
    with pytest.raises((BadSpec, ForbiddenAddress)) as caught:
        make("git").parse(quoted(url) + ref)
    assert "secret" not in str(caught.value)
    assert "ret@" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https:", "https:/example.org/r", "https://", "https:///r", "https://example.org", "https://example.org/",
        "ssh://-oProxyCommand=id/r", "ssh://-x@example.org/r", "https://exa mple.org/r", "https://example.org/a\\b",
        "git://example.org/r%0ahost=evil", "https://example.org:port/r", "https://[::1/r", "https://127.1/r",
        "https://example.org/\u2028", "ssh://a;b@example.org/r", "https://exa$mple.org/r",
    ],
)
def test_broken_addresses(make: Make, url: str) -> None:
    with pytest.raises((BadSpec, ForbiddenAddress)):
        make("git").parse(f"{quoted(url)}/HEAD")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("https%3A%2F%2Fexample.org%2Fr", r'provided: "https%3A%2F%2Fexample\.org%2Fr"\. Did you mean ".*/HEAD"\?$'),
        ("https://example.org/r/HEAD", "write it encoded, as https%3A%2F%2Fhost%2Fpath"),
        ("https%3A%2F%2Fexample.org%2Fr/--upload-pack=id", 'it begins with "-"'),
    ],
)
def test_malformed_specs(make: Make, raw: str, words: str) -> None:
    with pytest.raises(BadSpec, match=words):
        make("git").parse(raw)


async def test_refs_of_a_real_server(make: Make, git: GitServer, repo: Repo) -> None:
    provider = make("git", private=True)
    first, second = repo.id("HEAD~1"), repo.id("HEAD")
    for ref, commit, branch in (
        ("HEAD", second, "refs/heads/main"),
        ("main", second, "refs/heads/main"),
        ("v1", first, "refs/tags/v1"),
        ("feature/x", first, "refs/heads/feature/x"),
        ("heads/main", second, "refs/heads/main"),
        ("tags/both", second, "refs/tags/both"),
        ("refs/heads/main", second, "refs/heads/main"),
    ):
        resolved = await provider.resolve(provider.parse(f"{quoted(git.url('o/r'))}/{ref}"))
        assert (resolved.ref, resolved.branch, resolved.notice) == (commit, branch, ""), ref
        assert resolved.repo_url == git.url("o/r")
    assert len(git.hits("o/r")) == 7 * 2, "one conversation each"


async def test_a_branch_goes_before_a_tag_and_says_so(make: Make, git: GitServer, repo: Repo) -> None:
    provider = make("git", private=True)
    resolved = await provider.resolve(provider.parse(f"{quoted(git.url('o/r'))}/both"))
    assert resolved.ref == repo.id("HEAD~1")
    assert resolved.notice == '"both" is a branch and a tag; the branch is meant. Write "tags/both" for the tag.'


async def test_a_detached_head(make: Make, git: GitServer) -> None:
    repo = Repo.create(git.root, "o/detached")
    commit = repo.commit({"a": "1"})
    (repo.path / "HEAD").write_text(f"{commit}\n")
    provider = make("git", private=True)
    resolved = await provider.resolve(provider.parse(f"{quoted(git.url('o/detached'))}/HEAD"))
    assert (resolved.ref, resolved.branch) == (commit, "HEAD")


async def test_over_git_daemon(make: Make, git: GitServer, repo: Repo) -> None:
    provider = make("git", private=True)
    with GitDaemon(git.root) as daemon:
        spec = provider.parse(f"{quoted(daemon.url('o/r'))}/v1")
        assert (await provider.resolve(spec)).ref == repo.id("v1")
        with pytest.raises(Unresolved, match="There is no git repository at git://"):
            await provider.resolve(provider.parse(f"{quoted(daemon.url('o/none'))}/v1"))


async def test_what_is_not_there(make: Make, git: GitServer) -> None:
    Repo.create(git.root, "o/empty")
    headless = Repo.create(git.root, "o/headless", branch="gone")
    headless.commit({"a": "1"}, branch="dev")
    provider = make("git", private=True)
    for name, ref, detail in (
        ("o/r", "nosuch", 'There is no branch or tag "nosuch" at {url}.'),
        ("o/r", "x", 'There is no branch or tag "x" at {url}.'),
        ("o/r", "abc1234", 'There is no branch or tag "abc1234" at {url}; a commit must be given with all 40 digits.'),
        ("o/none", "HEAD", "There is no git repository at {url}, or it is private; check the address."),
        ("o/empty", "HEAD", "The repository at {url} is empty, or is none; push a commit to it first."),
        ("o/headless", "HEAD", "The repository at {url} has no default branch; name one of its branches: dev."),
        ("o/headless", "gone", 'There is no branch or tag "gone" at {url}; its branches are dev.'),
    ):
        raw = f"{quoted(git.url(name))}/{ref}"
        with pytest.raises(Unresolved) as caught:
            await provider.resolve(provider.parse(raw))
        start = f"Could not resolve ref for git:{raw}. Double check your URL and that your repo is public. "
        assert caught.value.sentence == start + detail.format(url=git.url(name))


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault(status=401), Forbidden, "asks for a login for .*: the repository is private, or does not exist"),
        (Fault(status=403), Forbidden, "asks for a login"),
        (Fault(status=404), Unresolved, "There is no git repository at"),
        (Fault(status=429), RateLimited, "so many requests"),
        (Fault(status=500), Unreachable, r"an error of its own \(500\); try again later"),
        (Fault(status=200, body="<html>"), Unresolved, "is empty, or is none"),
        (Fault(status=200, body="<html>\n<p>no</p>\n" * 9), Unresolved, "There is no git repository at"),
        (Fault(hang=True), Unreachable, r"did not answer within 1 s; try again later"),
        (Fault(status=302, location="http://127.0.0.1:1/x"), Unreachable, "cannot be reached"),
        (Fault(status=302, location="http://169.254.169.254/x"), ForbiddenAddress, "never connected to"),
        (Fault(status=302, location="file:///etc/passwd"), ForbiddenAddress, "Only http and https"),
    ],
)
async def test_what_servers_do(
    make: Make, git: GitServer, fault: Fault, error: type[DockyardError], words: str
) -> None:
    git.faults["o/r"] = fault
    provider = make("git", private=True, timeout=1 if fault.hang else 120)
    with pytest.raises(error, match=words) as caught:
        await provider.resolve(provider.parse(f"{quoted(git.url('o/r'))}/HEAD"))
    assert type(caught.value) is error


async def test_checked_redirects_are_followed(make: Make, git: GitServer, repo: Repo) -> None:
    git.faults["o/old"] = Fault(status=301, location=git.url("o/older"))
    git.faults["o/older"] = Fault(status=308, location=git.url("o/r"))
    git.faults["o/loop"] = Fault(status=302, location=git.url("o/loop"))
    provider = make("git", private=True)
    resolved = await provider.resolve(provider.parse(f"{quoted(git.url('o/old'))}/HEAD"))
    assert (resolved.ref, resolved.repo_url) == (repo.id("HEAD"), git.url("o/old"))
    with pytest.raises(Unreachable, match="redirects"):
        await provider.resolve(provider.parse(f"{quoted(git.url('o/loop'))}/HEAD"))


@pytest.mark.parametrize("protocol", ["http", "https", "git", "ssh"])
async def test_nobody_there(make: Make, protocol: str, unused_tcp_port: int) -> None:
    provider = make("git", private=True)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1 cannot be reached or does not speak git"):
        await provider.resolve(provider.parse(f"{quoted(f'{protocol}://127.0.0.1:{unused_tcp_port}/r')}/HEAD"))
    with pytest.raises(Unreachable, match=r"There is no host named nothing\.invalid|cannot be looked up"):
        await provider.resolve(provider.parse(f"{quoted(f'{protocol}://nothing.invalid/r')}/HEAD"))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/o/r", "http://localhost:{port}/o/r", "http://[::ffff:127.0.0.1]:{port}/o/r",
        "git://127.0.0.1:{port}/o/r", "ssh://git@localhost:{port}/o/r", "http://0.0.0.0:{port}/o/r", "http://169.254.169.254/o/r",
    ],
)
async def test_in_production_nothing_private_is_asked(make: Make, git: GitServer, url: str) -> None:
    provider = make("git")
    for ref in ("HEAD", SHA):
        with pytest.raises(ForbiddenAddress):
            provider.parse(f"{quoted(url.format(port=git.port))}/{ref}")
    assert git.requests == []


async def test_names_are_looked_up_before_they_are_asked(git: GitServer) -> None:
    async def inside(_host: str, _port: int) -> list[Address]:
        return [ip_address("127.0.0.1")]

    remote = GitRemote(Rule(Purpose.FETCH, resolver=inside), timeout=120)
    with pytest.raises(ForbiddenAddress, match=r"^public\.example leads to 127\.0\.0\.1, which is this machine itself"):
        await remote.tip(git_url(f"http://public.example:{git.port}/o/r"), "HEAD")
    assert git.requests == []
