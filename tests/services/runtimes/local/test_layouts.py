"""What a link may say beside its repository: a directory of it, another repository's environment, and a private one."""

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

import pytest
from aiohttp import web

from services.runtimes.base import Source
from services.runtimes.local.builder import LocalBuilder
from tests.gitrepo import Executable, Repo, Symlink
from tests.gitserver import Fault, GitServer
from tests.services.runtimes.local.ground import Built, Ground, fresh

SECRET = f"canary-{secrets.token_hex(8)}"  # no other run of these tests has it in its words


def tree(home: Ground, built: Built) -> Path:
    assert built.exit.ok, built.text + built.exit.reason
    return home.workshop().images.open(built.job.image).content


def names(tree: Path) -> list[str]:
    return sorted(path.name for path in tree.iterdir())


async def test_a_directory_is_built_as_if_it_were_the_repository(home: Ground, repo: Repo, url: str) -> None:
    package = fresh(home)
    first = repo.commit({
        "requirements.txt": "no-such-package-anywhere\n", "course/week1/requirements.txt": f"{package}\n", "course/week1/a.txt": "1",
        "course/week1/.hidden": "", "other/b.txt": "2",
    })
    built = await home.build(home.job(url, first, subdir="course/week1"))
    assert names(tree(home, built)) == [".hidden", "a.txt", "requirements.txt"]
    assert "Only course/week1 of it is built." in built.text
    second = repo.commit({"other/b.txt": "3"})
    assert (await home.build(home.job(url, second, subdir="course/week1"))).exit.facts["reused"] == "yes"


async def test_an_environment_that_reads_the_directory_reads_nothing_else(home: Ground, repo: Repo, url: str) -> None:
    files: dict[str, str | Executable] = {"part/postBuild": Executable("#!/bin/sh\ntest ! -e ../other && touch made\n"), "other/b.txt": "2"}
    first = await home.build(home.job(url, repo.commit(files), subdir="part"))
    assert names(tree(home, first)) == ["made", "postBuild"]
    second = await home.build(home.job(url, repo.commit({"other/b.txt": "3"}), subdir="part"))
    assert second.plan.environment == first.plan.environment
    third = await home.build(home.job(url, repo.commit({"part/c.txt": "3"}), subdir="part"))
    assert third.plan.environment != first.plan.environment


@pytest.mark.parametrize("subdir", ["absent", "file", "away", "Part"])
async def test_what_is_no_directory_is_refused(subdir: str, home: Ground, repo: Repo, url: str) -> None:
    commit = repo.commit({"file": "", "away": Symlink("/etc"), "part/a": ""})
    built = await home.build(home.job(url, commit, subdir=subdir))
    assert built.exit.reason == f'The repository has no directory "{subdir}" at this commit.'


async def test_content_is_laid_over_the_environment_of_another_repository(home: Ground, repo: Repo, served: GitServer, url: str) -> None:
    package, other = fresh(home), Repo.create(served.root, f"environment-{repo.path.name}")
    environment = Source("git", served.url(other.path.name), other.commit({
        "requirements.txt": f"{package}\n", "README.md": "environment", "data/shared.csv": "1", "tools": "file",
    }))
    first = repo.commit({
        "requirements.txt": "no-such-package-anywhere\n", "postBuild": Executable("exit 1"), "README.md": "content", "data/own.csv": "2",
        "tools/x": "directory", "data/link": Symlink("/etc"),
    })
    built = await home.build(home.job(url, first, environment=environment))
    content = tree(home, built)
    assert names(content) == [".git", "README.md", "data", "requirements.txt", "tools"]
    assert (names(content / "data"), names(content / "tools")) == (["link", "own.csv", "shared.csv"], ["x"])
    assert ((content / "README.md").read_text(), (content / "requirements.txt").read_text()) == ("content", f"{package}\n")
    assert "requirements.txt, postBuild of the content are left out" in built.text
    second = await home.build(home.job(url, repo.commit({"new.ipynb": "{}"}), environment=environment))
    assert second.exit.facts["reused"] == "yes", "new content, the same environment"


async def test_with_a_binder_directory_the_content_keeps_its_own_files(home: Ground, repo: Repo, served: GitServer, url: str) -> None:
    other = Repo.create(served.root, f"binder-{repo.path.name}")
    environment = Source("git", served.url(other.path.name), other.commit({"binder/requirements.txt": f"{fresh(home)}\n"}))
    commit = repo.commit({"setup.py": "raise SystemExit(1)\n", ".binder/apt.txt": "htop\n", "binder/postBuild": "exit 1"})
    assert names(tree(home, await home.build(home.job(url, commit, environment=environment)))) == [".git", "binder", "setup.py"]
    gone = await home.build(home.job(url, commit, environment=Source("git", environment.repo_url, "1" * 40, "main")))
    assert gone.exit.reason == "The environment repository: The repository has no commit 111111111111 on main any more."


async def test_a_private_repository_is_fetched_with_the_login_of_its_host_alone(
    home: Ground, repo: Repo, served: GitServer,
) -> None:
    commit = repo.commit({"a.txt": "1"})
    async with GitServer(served.root) as private, GitServer(served.root) as elsewhere:
        private.login = elsewhere.login = f"reader:{SECRET}"
        settings = {"DOCKYARD_PROVIDERS_GIT_CREDENTIALS": json.dumps({private.address: f"username=reader\\npassword={SECRET}"})}
        workshop = home.workshop(**settings)
        built = await home.build(home.job(private.url(repo.path.name), commit), workshop)
        assert (tree(home, built) / "a.txt").read_text() == "1"
        assert SECRET not in built.text
        private.faults[repo.path.name] = Fault(status=302, location=elsewhere.url(repo.path.name))
        led = await home.build(home.job(private.url(repo.path.name), commit), workshop)
        assert led.exit.reason == "127.0.0.1 refuses access to the repository."
        assert (await home.build(home.job(elsewhere.url(repo.path.name), commit), workshop)).exit.reason == led.exit.reason
        private.faults[repo.path.name], private.requests[:] = Fault(hang=True), []
        job, builder = home.job(private.url(repo.path.name), commit), LocalBuilder(workshop)
        await builder.start(job)
        async with asyncio.timeout(120):
            while not private.requests:
                await asyncio.sleep(0.02)
        try:
            assert not seen(home), "while it is fetched"
        finally:
            await builder.remove(job.handle)
    assert not seen(home)


def seen(home: Ground) -> list[str]:
    """Where the secret stands: files of the home, and the command lines of this machine."""
    # Not walked here: other tests leave trees that are deeper than Python walks.
    words = ["grep", "-rslF", "--devices=skip", "-e", SECRET, str(home.root)]
    found = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if SECRET.encode() in path.read_bytes():
                found.append(str(path))
    return found


class Large:
    """A server of Git LFS beside a git server: what it has, and who has asked.

    By the name of this machine, since git-lfs takes no proxy, and so no way out of its sandbox, for what is called 127.0.0.1.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.asked = content, list[str]()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        name = socket.gethostname()
        await web.TCPSite(self._runner, socket.gethostbyname(name), 0).start()
        self.url = f"http://{name}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.method == "GET":
            return web.Response(body=self.content)
        objects = [
            {**one, "actions": {"download": {"href": f"{self.url}/object"}}} for one in (await request.json())["objects"]
        ]
        return web.json_response({"transfer": "basic", "objects": objects}, content_type="application/vnd.git-lfs+json")


def _named() -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(socket.gethostname())).is_loopback
    except OSError:
        return False


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
@pytest.mark.skipif(not _named(), reason="this machine's own name does not lead to its loopback")
async def test_large_files_come_through_the_egress_rule(home: Ground, repo: Repo, url: str) -> None:
    content = os.urandom(4000)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n"
    attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
    async with Large(content) as large:
        commit = repo.commit({".gitattributes": attributes, ".lfsconfig": f"[lfs]\n\turl = {large.url}\n", "big.bin": pointer})
        built = await home.build(home.job(url, commit))
        assert (tree(home, built) / "big.bin").read_bytes() == content
        assert large.asked == ["/objects/batch", "/object"]
        commit = repo.commit({".lfsconfig": "[lfs]\n\turl = http://169.254.169.254\n"})
        refused = await home.build(home.job(url, commit))
    reason = "Files could not be fetched from Git LFS: 169.254.169.254 is a link-local address, and those are never connected to."
    assert refused.exit.reason == reason, refused.text
