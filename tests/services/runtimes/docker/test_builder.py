"""Builds on a real engine, with both builders: from a repository to an image, adopted, stopped, failed with a reason."""

import asyncio
import secrets
import zipfile
from collections.abc import AsyncIterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.records import File
from services.runtimes.base import Lines, Presence
from services.runtimes.docker import DockerRuntime
from tests.gitserver import GitServer, Repo
from tests.registryserver import RegistryServer
from tests.services.runtimes.docker import lab

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]
# With a word of its own, since an engine keeps what it has run before.
COUNTING = f"FROM {lab.SMALL}\nRUN : {secrets.token_hex(8)}; for i in $(seq 1 40); do echo line $i; sleep 0.1; done\nCOPY . /content\n"


@pytest.fixture(params=["contained", "engine"])
async def runtime(request: pytest.FixtureRequest, store: RegistryServer) -> AsyncIterator[DockerRuntime]:
    found = lab.runtime(store, request.param)
    yield found
    await found.aclose()


async def test_a_dockerfile_becomes_an_image(
    runtime: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    name = f"docker-{id(runtime)}.git"
    dockerfile = f"FROM {lab.SMALL}\nRUN echo here\nCOPY --chown=1000:1000 . /content\n"
    commit = Repo.create(root, name).commit({"Dockerfile": dockerfile, "a": "text"})
    image = f"{store.host}/tests/r2d-docker-{id(runtime)}:{commit}"
    assert await runtime.images.exists(image) is Presence.NO
    told = await lab.build(runtime, lab.job(server.url(name), commit, image))
    assert told.end is not None
    assert told.end.ok, told.text
    assert told.phases == ["fetching", "building", "pushing"]
    assert "Using DockerBuildPack builder" in told.text
    assert "the Dockerfile decides what it reads" in told.text
    assert {line.phase for line in told.lines.values()} <= {"fetching", "building"}
    assert await runtime.images.exists(image) is Presence.YES
    lab.docker("pull", "-q", image)
    assert lab.docker("run", "--rm", image, "cat", "/content/a") == "text"
    await runtime.images.remove(image)
    assert await runtime.images.exists(image) is Presence.NO
    lab.docker("rmi", image)
    assert not [handle for handle in await runtime.builder.running() if handle in told.text]


async def test_a_broken_dockerfile_fails_with_the_builders_words(
    runtime: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    name = f"broken-{id(runtime)}.git"
    commit = Repo.create(root, name).commit({"Dockerfile": f"FROM {lab.SMALL}\nRUN nonsense-command\n"})
    told = await lab.build(runtime, lab.job(server.url(name), commit, f"{store.host}/tests/broken:{commit}"))
    assert told.end is not None
    assert not told.end.ok
    assert not told.end.retryable
    assert "nonsense-command" in told.end.reason
    assert "error" in told.end.reason.lower()


async def test_the_files_of_a_record_become_an_image(store: RegistryServer, tmp_path: Path) -> None:
    """Downloaded in the build container, as its archive tells them, an archive unpacked."""
    with zipfile.ZipFile(tmp_path / "record.zip", "w") as made:
        made.writestr("r-1/Dockerfile", f"FROM {lab.SMALL}\nCOPY . /content\n")
        made.writestr("r-1/a", "text")
    found = lab.runtime(store, "contained")
    server = ThreadingHTTPServer((lab.gateway(), 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    serving = asyncio.create_task(asyncio.to_thread(server.serve_forever, 0.05))
    image = f"{store.host}/tests/r2d-zenodo-1:1"
    try:
        files = (File("record.zip", f"http://{lab.gateway()}:{server.server_port}/record.zip", unpack="zip", inside="*"),)
        told = await lab.build(found, lab.job("10.5281/zenodo.1", "1", image, files=files))
        assert told.end is not None
        assert told.end.ok, told.text
        assert "Downloading record.zip" in told.text
        lab.docker("pull", "-q", image)
        assert lab.docker("run", "--rm", image, "cat", "/content/a") == "text"
        lab.docker("rmi", image)
    finally:
        server.shutdown()
        await serving
        server.server_close()
        await found.aclose()


async def test_a_commit_that_is_gone_is_named(
    runtime: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    name = f"gone-{id(runtime)}.git"
    Repo.create(root, name).commit({"a": "b"})
    image = f"{store.host}/tests/gone:1"
    gone, missing = await asyncio.gather(
        *(lab.build(runtime, lab.job(server.url(found), "0" * 40, image)) for found in (name, "missing.git")))
    assert gone.end is not None
    assert "is not in the repository" in gone.end.reason
    assert missing.end is not None
    assert "Failed to clone" in missing.end.reason


async def test_whoever_takes_over_follows_the_same_container_from_the_next_line(
    runtime: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    name = f"counting-{id(runtime)}.git"
    commit = Repo.create(root, name).commit({"Dockerfile": COUNTING, "a": str(id(runtime))})
    work = lab.job(server.url(name), commit, f"{store.host}/tests/counting-{id(runtime)}:{commit}")
    first = lab.Told()
    await runtime.builder.start(work)
    following = runtime.builder.follow(work, 1)
    async for item in following:
        first.hear(item)
        if "line 5" in first.text:
            break
    await following.aclose()  # type: ignore[attr-defined]
    before = await runtime.engine.inspect(work.handle)
    other = lab.runtime(store, "contained")
    try:
        await runtime.builder.start(work)
        assert work.handle in await runtime.builder.running()
        second = lab.Told()
        async for item in runtime.builder.follow(work, max(first.lines) + 1):
            second.hear(item)
    finally:
        after = await runtime.engine.inspect(work.handle)
        await runtime.builder.remove(work.handle)
        await other.aclose()
    assert before is not None
    assert after is not None
    assert (before.id, before.started) == (after.id, after.started)
    assert not set(first.lines) & set(second.lines)
    text = lab.Told(first.lines | second.lines).text
    assert [text.count(f"line {n}\n") for n in range(1, 41)] == [1] * 40
    assert second.end is not None
    assert second.end.ok, text
    assert await runtime.engine.inspect(work.handle) is None


async def test_a_stopped_build_leaves_nothing(
    runtime: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    name = f"stopped-{id(runtime)}.git"
    commit = Repo.create(root, name).commit({"Dockerfile": f"FROM {lab.SMALL}\nRUN echo begun; sleep 300 # {id(runtime)}\n"})
    work = lab.job(server.url(name), commit, f"{store.host}/tests/stopped:{commit}")
    await runtime.builder.start(work)
    async for item in runtime.builder.follow(work, 1):
        if isinstance(item, Lines) and any("begun" in line.message for line in item.lines):
            break
    await asyncio.wait_for(runtime.builder.stop(work), 120)
    found = await runtime.engine.inspect(work.handle)
    assert found is not None
    assert found.status == "exited"
    await runtime.builder.remove(work.handle)
    await runtime.builder.remove(work.handle)
    assert work.handle not in await runtime.builder.running()
    assert work.handle not in lab.docker("volume", "ls", "-q")


async def test_without_a_registry_the_engines_store_serves(bench: None, repositories: tuple[Path, GitServer]) -> None:
    root, server = repositories
    files = {"Dockerfile": f"FROM {lab.SMALL}\nCOPY a /a\n", "a": "text", "once": secrets.token_hex(8)}
    commit = Repo.create(root, "plain.git").commit(files)

    async def built(builder: str) -> None:
        runtime = lab.runtime(None, builder)
        try:
            image = f"tests/r2d-plain-{builder}:{commit}"
            assert await runtime.images.exists(image) is Presence.NO
            told = await lab.build(runtime, lab.job(server.url("plain.git"), commit, image))
            assert told.end is not None
            assert told.end.ok, told.text
            assert await runtime.images.exists(image) is Presence.YES
            assert await asyncio.to_thread(lab.docker, "run", "--rm", image, "cat", "/a") == "text"
            await runtime.images.remove(image)
            assert await runtime.images.exists(image) is Presence.NO
            assert f"r2d-plain-{builder}:{commit}" not in await asyncio.to_thread(lab.names), "another name"
        finally:
            await runtime.aclose()

    await asyncio.gather(built("contained"), built("engine"))
