"""`git ls-remote` in its cage: what it is given, what it is kept from, what its complaints mean."""

import asyncio
import ipaddress
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from services.egress import Address, Purpose, Rule
from services.errors import DockyardError, Forbidden, ForbiddenAddress, RateLimited, Unreachable, Unresolved
from services.providers.git_remote import GitRemote, Tip, candidates, chosen
from services.providers.grammar import git_url
from services.providers.ls_remote import Moved, Refs, _environment, complaint, ls_remote, parsed
from tests.gitserver import Fault, GitServer, Repo
from tests.processes import below, words
from tests.services.providers.stub import Page, serving

URL = git_url("https://example.org/r")
A, B, C = "a" * 40, "b" * 40, "c" * 40
LOOPBACK: Address = ipaddress.ip_address("127.0.0.1")


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ("fatal: repository 'https://example.org/r/' not found", Unresolved),
        ("fatal: unable to access 'x': The requested URL returned error: 404", Unresolved),
        ("fatal: remote error: access denied or repository not exported: /r", Unresolved),
        ("remote: The project you were looking for could not be found or you don't have permission", Unresolved),
        ("fatal: 'r' does not appear to be a git repository", Unresolved),
        ("fatal: https://example.org/r/info/refs not valid: is this a git repository?", Unresolved),
        ("ERROR: Repository not found.", Unresolved),
        ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", Forbidden),
        ("fatal: unable to access 'x': The requested URL returned error: 403", Forbidden),
        ("fatal: Authentication failed for 'https://example.org/r/'", Forbidden),
        ("git@example.org: Permission denied (publickey).", Forbidden),
        ("fatal: unable to access 'x': The requested URL returned error: 429", RateLimited),
        ("fatal: unable to access 'x': The requested URL returned error: 503", Unreachable),
        ("fatal: unable to access 'x': Could not resolve host: example.org", Unreachable),
        ("fatal: unable to access 'x': Failed to connect to example.org port 443", Unreachable),
        ("fatal: unable to access 'x': server certificate verification failed. CAfile: none CRLfile: none", Unreachable),
        ("fatal: unable to access 'x': gnutls_handshake() failed: An unexpected TLS packet was received.", Unreachable),
        ("fatal: unable to connect to example.org:\nerrno=Connection refused", Unreachable),
        ("error: cannot run ssh: No such file or directory\nfatal: unable to fork", Unreachable),
        ("fatal: Out of memory, malloc failed", Unreachable),
        ("", Unreachable),
        ("fatal: transport 'http' not allowed", ForbiddenAddress),
        ("fatal: unable to access 'x': The requested URL returned error: 302", Moved),
    ],
)
def test_complaints(errors: str, kind: type[Exception]) -> None:
    found = complaint(URL, errors)
    assert type(found) is kind
    if isinstance(found, DockyardError):
        assert "example.org" in found.sentence or "ssh" in found.sentence or "https://" in found.sentence
        assert found.sentence.endswith(".")


def test_output() -> None:
    refs = parsed(f"ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\nwarning: x\n")
    assert refs == Refs({"HEAD": A, "refs/tags/v1": B, "refs/tags/v1^{}": C}, "refs/heads/main")
    assert parsed(f"{'d' * 64}\tHEAD\n").ids == {"HEAD": "d" * 64}
    assert parsed("") == Refs({}, "")


@pytest.mark.parametrize(
    ("ref", "ids", "tip"),
    [
        ("HEAD", {"HEAD": A}, Tip(A, "refs/heads/main")),
        ("HEAD", {"refs/heads/HEAD": A}, None),
        ("x", {"HEAD": A, "refs/heads/x": B}, Tip(B, "refs/heads/x")),
        ("x", {"refs/tags/x": A, "refs/tags/x^{}": B}, Tip(B, "refs/tags/x")),
        ("x", {"refs/heads/a/x": A, "refs/remotes/x": B}, None),
        ("pull/1/head", {"refs/pull/1/head": A}, Tip(A, "refs/pull/1/head")),
        ("refs/x", {"refs/refs/x": A, "refs/x": B}, Tip(B, "refs/x")),
    ],
)
def test_what_a_ref_means(ref: str, ids: dict[str, str], tip: Tip | None) -> None:
    assert chosen(ref, Refs(ids, "refs/heads/main")) == tip


def test_no_name_is_an_option() -> None:
    assert all(name.startswith("refs/") for ref in ("x", "refs/x", "@x") for name in candidates(ref))


def test_the_environment_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "ALL_PROXY", "GIT_DIR", "GIT_ASKPASS", "GIT_TRACE", "DOCKYARD_HUB_TOKEN", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/my.pem")
    environment = _environment(URL, "/home-of-its-own")
    assert "canary" not in environment.values()
    assert environment["SSL_CERT_FILE"] == "/etc/ssl/my.pem"
    assert environment["HOME"] == "/home-of-its-own"
    assert environment["GIT_ALLOW_PROTOCOL"] == "https"


@pytest.fixture
async def pinned() -> AsyncIterator[GitRemote]:
    """A client under the production rule, for which names that exist nowhere lead to loopback."""

    async def resolver(_host: str, _port: int) -> list[Address]:
        return [LOOPBACK]

    remote = GitRemote(Rule(Purpose.FETCH, private=True, resolver=resolver), timeout=120)
    yield remote
    await remote.aclose()


async def test_git_connects_to_the_checked_address_only(pinned: GitRemote, git: GitServer, repo: Repo) -> None:
    tip = await pinned.tip(git_url(f"http://Pinned.Example.:{git.port}/o/r"), "HEAD")
    assert tip.commit == repo.id("HEAD")
    git.faults["o/moved"] = Fault(status=301, location=f"http://other.example:{git.port}/o/r")
    tip = await pinned.tip(git_url(f"http://pinned.example:{git.port}/o/moved"), "HEAD")
    assert tip.commit == repo.id("HEAD")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_https_is_verified_by_name(
    pinned: GitRemote, git: GitServer, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tls.example", "-addext",
         "subjectAltName=DNS:tls.example", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path, check=True, capture_output=True,
    )
    async with GitServer(git.root, tls=tmp_path) as server:
        with pytest.raises(Unreachable, match="no certificate that can be trusted"):
            await pinned.tip(git_url(f"https://tls.example:{server.port}/o/r"), "HEAD")
        monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "cert.pem"))
        assert (await pinned.tip(git_url(f"https://tls.example:{server.port}/o/r"), "HEAD")).commit == repo.id("HEAD")
        with pytest.raises(Unreachable, match="no certificate that can be trusted"):
            await pinned.tip(git_url(f"https://other.example:{server.port}/o/r"), "HEAD")


async def test_a_second_answer_of_the_name_server_is_not_asked_for(git: GitServer) -> None:
    answers = iter(["127.0.0.2", "127.0.0.1"])

    async def rebinding(_host: str, _port: int) -> list[Address]:
        return [ipaddress.ip_address(next(answers))]

    remote = GitRemote(Rule(Purpose.FETCH, private=True, resolver=rebinding), timeout=120)
    with pytest.raises(Unreachable):
        await remote.tip(git_url(f"http://rebind.example:{git.port}/o/r"), "HEAD")
    assert git.requests == []
    assert next(answers) == "127.0.0.1"


async def test_git_and_ssh_try_every_address(git: GitServer, unused_tcp_port: int) -> None:
    addresses = [ipaddress.ip_address(f"127.0.0.{n}") for n in (1, 2, 3)]
    for protocol in ("git", "ssh"):
        with pytest.raises(Unreachable):
            await ls_remote(git_url(f"{protocol}://x.example:{unused_tcp_port}/r"), ["HEAD"], addresses, 120)


def running() -> list[psutil.Process]:
    """The ls-remote processes that this process has started."""
    return [process for process in below(os.getpid()) if "ls-remote" in words(process)]


async def test_a_silent_server_leaves_nothing(git: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git.faults["o/r"] = Fault(hang=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    remote = GitRemote(Rule(Purpose.FETCH, private=True), timeout=0.5)
    with pytest.raises(Unreachable, match=r"did not answer within 0\.5 s"):
        await remote.tip(git_url(git.url("o/r")), "HEAD")
    assert running() == []
    assert list(tmp_path.iterdir()) == []


async def test_closing_ends_what_runs(git: GitServer) -> None:
    git.faults["o/r"] = Fault(hang=True)
    remote = GitRemote(Rule(Purpose.FETCH, private=True), timeout=60)
    waiting = asyncio.ensure_future(remote.tip(git_url(git.url("o/r")), "HEAD"))
    while not git.hits("o/r"):
        await asyncio.sleep(0.01)
    await remote.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert running() == []


async def test_everybody_who_waits_shares_one_conversation(git: GitServer, repo: Repo) -> None:
    git.faults["o/r"] = Fault(delay=0.2, times=1)
    remote = GitRemote(Rule(Purpose.FETCH, private=True), timeout=120)
    url = git_url(git.url("o/r"))
    tips = await asyncio.gather(*(remote.tip(url, "HEAD") for _ in range(30)))
    assert {tip.commit for tip in tips} == {repo.id("HEAD")}
    assert len(git.hits("o/r")) == 2
    await remote.aclose()


async def test_a_flood_of_refs_ends() -> None:
    async with serving() as stub:
        lines = "".join(f"{n:040x}\trefs/heads/branch-with-a-long-name-{n}\n" for n in range(60_000))
        stub.pages["/r/info/refs"] = Page(200, {"Content-Type": "text/plain"}, lines)
        url = git_url(f"{stub.url}/r")
        with pytest.raises(Unreachable, match="more branches and tags than can be read"):
            await ls_remote(url, [], [LOOPBACK], 120)
        found = await ls_remote(url, ["refs/heads/branch-with-a-long-name-59999"], [LOOPBACK], 120)
        assert found.ids == {"refs/heads/branch-with-a-long-name-59999": f"{59999:040x}"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("mode", "uid"), [(0o755, 65534), (0o700, 0)])
async def test_git_does_not_speak_to_strangers_as_root_where_it_need_not(monkeypatch: pytest.MonkeyPatch, mode: int, uid: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # open to others, unlike pytest's
        git = Path(directory) / "git"
        git.write_text("#!/bin/sh\ntouch written && printf '%040d\\tHEAD\\n' \"$(id -u)\"\n")
        git.chmod(0o755)
        Path(directory).chmod(mode)
        monkeypatch.setenv("PATH", f"{directory}:{os.defpath}")
        monkeypatch.setattr(tempfile, "tempdir", "/tmp")
        assert int((await ls_remote(URL, ["HEAD"], [LOOPBACK], 20)).ids["HEAD"]) == uid
