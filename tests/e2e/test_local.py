"""The whole path on real input: a link becomes a server on this machine, in one `up` for all tests of this file."""

import asyncio
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from uv import find_uv_bin

from bench.ports import free_ports
from services.runtimes.local.detached import Running, runs, status
from tests.cli.test_up import Up
from tests.e2e.local_up import NOTEBOOK, Place, compute
from tests.gitserver import Executable, GitServer, Repo
from tests.stack import log_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local_up")]


def _index_answers() -> bool:
    """Whether uv, as this machine has set it up, reaches an index; asked by a process of its own, since tests reach nothing."""
    with tempfile.TemporaryDirectory() as name:
        asked = [find_uv_bin(), "pip", "compile", "--no-cache", "--quiet", "-"]
        return subprocess.run(asked, input=b"six", cwd=name, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Place]:
    if not _index_answers():
        pytest.skip("no package index answers, and environments are installed from one")
    with tempfile.TemporaryDirectory(prefix="dockyard-test-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        root.chmod(0o711)
        (root / "repositories").mkdir()
        with GitServer(root / "repositories") as git:
            up = Up(root / "home", free_ports(), "local")
            await up.start()
            try:
                await up.hear("Dockyard is up")
                found = Place(up, git, root / "repositories")
                yield found
                await found.client.aclose()
            finally:
                up.process.send_signal(signal.SIGTERM)
                await up.end()
                await up.nothing_is_left()


@pytest.fixture(scope="module")
def demo(place: Place) -> Repo:
    repo = Repo.create(place.repositories, "demo.git")
    repo.commit({"requirements.txt": "six==1.16.0\n", "index.ipynb": NOTEBOOK, "data.txt": "first\n"})
    return repo


async def test_a_new_repository_ends_in_a_server_that_computes(place: Place, demo: Repo) -> None:
    events = await place.launch(place.path("demo.git"))
    ready = events[-1]
    assert ready["phase"] == "ready", log_of(events)
    assert ready["url"].startswith(f"http://localhost:{place.up.port + 1}/user/")
    assert (await place.api(ready, "api/status"))["kernels"] == 0
    assert await compute(ready, "1 + 1") == "2"
    assert (await compute(ready, "import six; print(six.__version__)")).strip() == "1.16.0"
    told = await compute(ready, "import os; print(os.environ['BINDER_REQUEST'], os.environ['BINDER_REPO_URL'], os.getcwd())")
    assert told.split() == [f"v2/{place.path('demo.git')}", place.git.url("demo.git"), "/home/jovyan"]
    async with httpx.AsyncClient(timeout=120) as stranger:  # without the cookie that the token has given the other client
        assert (await stranger.get(f"{ready['url']}api/contents", params={"token": "wrong"})).status_code in (302, 403)
    await place.stop(events)


async def test_the_same_commit_is_found_and_new_content_needs_no_environment(place: Place, demo: Repo) -> None:
    await place.launch(place.path("demo.git"))
    again = await place.launch(place.path("demo.git"))
    assert next(event["phase"] for event in again if event["phase"] != "waiting") == "built"
    demo.commit({"data.txt": "second\n"})
    content = await place.launch(place.path("demo.git"))
    assert content[-1]["phase"] == "ready"
    assert any("environment that exists" in line for line in log_of(content)), log_of(content)
    assert (await place.api(content[-1], "api/contents/data.txt"))["content"] == "second\n"
    demo.commit({"requirements.txt": "six==1.17.0\n"})
    changed = await place.launch(place.path("demo.git"))
    assert any("requirements.txt" in line and "environment" in line for line in log_of(changed)), log_of(changed)
    assert (await compute(changed[-1], "import six; print(six.__version__)")).strip() == "1.17.0"


async def test_a_package_that_does_not_exist_is_named_with_its_line(place: Place) -> None:
    Repo.create(place.repositories, "typo.git").commit({"requirements.txt": "six\nthis-package-does-not-exist-anywhere\n"})
    events = await place.launch(place.path("typo.git"))
    assert events[-1]["phase"] == "failed"
    assert "this-package-does-not-exist-anywhere" in events[-1]["message"]
    assert "line 2" in events[-1]["message"]
    assert [event["phase"] for event in events].count("failed") == 1
    build = next(event["build"] for event in events if event.get("kind") == "building")
    log = await place.client.get(f"/api/v1/builds/{build}/log")
    assert "".join(log_of(events)).strip() in log.text


async def test_a_postbuild_that_fails_says_its_status(place: Place) -> None:
    Repo.create(place.repositories, "post.git").commit({"postBuild": Executable("#!/bin/sh\necho on the way\nexit 3\n")})
    events = await place.launch(place.path("post.git"))
    assert events[-1]["phase"] == "failed"
    assert "postBuild ended with status 3" in events[-1]["message"]
    assert "on the way\n" in log_of(events)


@pytest.mark.parametrize(("path", "words"), [
    ("nope/a/b", "No provider found for prefix nope"),
    ("gh/onlyone", "Spec is not of the form"),
    ("git/ftp%3A%2F%2Fexample.org%2Fr/HEAD", "Unsupported git url"),
    ("git/file%3A%2F%2F%2Fetc/HEAD", "file"),
    ("git/ext%3A%3Ash%20-c%20id/HEAD", ""),
    ("git/https%3A%2F%2Fuser%3Ahunter2%40example.org%2Fr/HEAD", ""),
    ("git/http%3A%2F%2Flocalhost%3A1%2Fr.git/HEAD", ""),
])
async def test_a_bad_link_is_one_clear_event(place: Place, path: str, words: str) -> None:
    events = await place.launch(path, 60)
    assert events[-1]["phase"] == "failed"
    assert [event["phase"] for event in events].count("failed") == 1
    assert words in events[-1]["message"]
    assert "hunter2" not in str(events)
    for log in (place.up.home / "log").iterdir():
        assert "hunter2" not in log.read_text(errors="replace")


@pytest.mark.parametrize("ref", ["no-such-branch", "-upload-pack=id", "--help", "0" * 40])
async def test_a_bad_ref_is_one_clear_event(place: Place, demo: Repo, ref: str) -> None:
    events = await place.launch(place.path("demo.git", ref), 100)
    assert events[-1]["phase"] == "failed"
    assert len(events[-1]["message"]) > 20


async def test_a_requirement_outside_of_the_repository_is_refused(place: Place) -> None:
    Repo.create(place.repositories, "outside.git").commit({"requirements.txt": "-r ../../etc/passwd\n"})
    events = await place.launch(place.path("outside.git"))
    assert events[-1]["phase"] == "failed"
    assert "requirements.txt" in events[-1]["message"]


# It goes on when it is told to, by a file in its directory, however fast or slow everything else is.
SLOW = """#!/bin/sh
say() { for n in $(seq $1 $2); do echo step $n; done; }
await() { until [ -e $1 ]; do sleep 0.05; done; }
say 1 5; await killed; say 6 40; await replaced; say 41 60
"""


def _run(place: Place) -> Running:
    """The one run of a postBuild here: nobody but us looks into this home."""
    [directory] = [path for path in runs(place.up.home / "local" / "builds") if path.name == "post"]
    found = status(directory)
    assert isinstance(found, Running)
    return found


def _tell(place: Place, word: str) -> None:
    [content] = (place.up.home / "local" / "builds").glob("*/content/postBuild")
    content.with_name(word).touch()


async def test_a_killed_worker_is_replaced_and_the_build_goes_on_in_its_process(place: Place) -> None:
    Repo.create(place.repositories, "slow.git").commit({"postBuild": Executable(SLOW)})
    async with place.stream(place.path("slow.git")) as stream:
        seen = [await stream.until(lambda event: event["message"] == "step 5\n")]
        before = _run(place)
        place.part("worker").kill()
        _tell(place, "killed")
        async for event in stream:
            seen.append(event)
            if event["message"] == "step 40\n":
                assert _run(place) == before
                _tell(place, "replaced")
            if event["phase"] in ("ready", "failed"):
                break
    assert seen[-1]["phase"] == "ready", log_of(seen)
    assert [line for line in log_of(seen) if line.startswith("step ")] == [f"step {n}\n" for n in range(5, 61)]


async def test_a_killed_launcher_is_replaced_and_one_server_runs(place: Place, demo: Repo) -> None:
    await place.launch(place.path("demo.git"))
    async with place.stream(place.path("demo.git")) as stream:
        await stream.until(lambda event: event["phase"] == "launching")
        place.part("launcher").kill()
        ready = await stream.until(lambda event: event["phase"] in ("ready", "failed"))
    assert ready["phase"] == "ready"
    assert (await place.api(ready, "api/status"))["kernels"] == 0


async def test_many_clients_of_a_new_commit_share_one_build(place: Place, demo: Repo) -> None:
    demo.commit({"requirements.txt": "six==1.16.0\nidna==3.10\n"})
    results = await asyncio.gather(*[place.launch(place.path("demo.git")) for _ in range(8)])
    assert all(events[-1]["phase"] == "ready" for events in results)
    assert len({event["build"] for events in results for event in events if event.get("kind") == "building"}) == 1
    assert len({events[-1]["url"] for events in results}) == 8
    for events in results:
        await place.stop(events)


@pytest.mark.parametrize("headers", [
    {"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"},
    {"origin": "http://localhost:1"},
])
async def test_a_foreign_host_or_origin_gets_one_refusal_and_makes_no_row(place: Place, demo: Repo, headers: dict[str, str]) -> None:
    admin = (place.up.home / "secret" / "admin-token").read_text().strip()
    authorization = {"authorization": f"Bearer {admin}"}
    before = (await place.client.get("/api/v1/stats", headers=authorization)).json()
    answer = await place.client.get(f"/build/{place.path('demo.git')}", headers={"accept": "text/event-stream", **headers})
    assert answer.status_code in (200, 403, 421)
    assert "ready" not in answer.text
    posted = await place.client.post("/api/v1/launches", json={"link": "x/y"}, headers=headers)
    assert posted.status_code in (403, 421)
    after = (await place.client.get("/api/v1/stats", headers=authorization)).json()
    assert sum(before["launches"].values()) == sum(after["launches"].values())
