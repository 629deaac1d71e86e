"""An image of environment and content layer against repo2docker's own image of the same commit: they must be equal.

Every named trap, and seeded mutations: some here, as many as CORPUS_MUTATIONS says where somebody asks for more (from number
CORPUS_FIRST on, so that many can be looked at in parts).
"""

import asyncio
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path

import pytest

from deploy.build.steps.layer import make
from services.errors import Misconfigured
from services.registry import Reference
from services.runtimes.base import Presence
from services.runtimes.docker import DockerRuntime
from tests.gitserver import Executable, GitServer, Repo
from tests.registryserver import RegistryServer
from tests.services.runtimes.docker import lab
from tests.services.runtimes.docker.mutations import START, TRAPS, Content, Tree, mutate, seeded

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]
Entry = tuple[bytes, int, int, int, str, str]
_FIRST, _MUTATIONS = int(os.environ.get("CORPUS_FIRST", "0")), int(os.environ.get("CORPUS_MUTATIONS", "2"))


@pytest.fixture(scope="module")
async def layered(store: RegistryServer) -> AsyncIterator[DockerRuntime]:
    found = lab.runtime(store, "engine")
    yield found
    await found.aclose()


@pytest.fixture(scope="module")
async def rebuilt(bench: None) -> AsyncIterator[DockerRuntime]:
    """repo2docker alone, into the engine's own store."""
    found = lab.runtime(None, "engine")
    yield found
    await found.aclose()


def tree_of(image: str) -> dict[str, Entry]:
    """Everything below /home in an image: type, mode, owner, link, hash; of `.git` only that it is there."""
    container = lab.docker("create", image)
    try:
        body = subprocess.run(["docker", "cp", f"{container}:/home", "-"], capture_output=True, check=True).stdout
    finally:
        lab.docker("rm", container)
    found = dict[str, Entry]()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        for member in tar:
            if "/.git/" in member.name:
                continue
            file = tar.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256(file.read()).hexdigest() if file else ""
            found[member.name.rstrip("/")] = (member.type, member.mode & 0o7777, member.uid, member.gid, member.linkname, digest)
    return found


def git_of(image: str) -> str:
    """What git thinks of the content, inside."""
    words = "git status --porcelain; git log --format=%H; git rev-parse --abbrev-ref HEAD"
    return lab.docker("run", "--rm", "--entrypoint", "bash", image, "-c", words)


async def compare(
    commit: str, url: str, layered: DockerRuntime, rebuilt: DockerRuntime, store: RegistryServer,
) -> None:
    """Make both images of a commit, and hold them against each other."""
    ours, theirs = f"{store.host}/tests/r2d-corpus:{commit}", f"tests/r2d-corpus:{commit}"
    told, whole = await asyncio.gather(
        lab.build(layered, lab.job(url, commit, ours)), lab.build(rebuilt, lab.job(url, commit, theirs)))
    assert told.end is not None
    assert told.end.ok, told.text
    assert told.end.facts.get("layered") == "yes", told.text
    assert whole.end is not None
    assert whole.end.ok, whole.text
    await asyncio.to_thread(lab.docker, "pull", "-q", ours)
    try:
        assert await asyncio.to_thread(tree_of, ours) == await asyncio.to_thread(tree_of, theirs)
        assert await asyncio.to_thread(git_of, ours) == await asyncio.to_thread(git_of, theirs)
    finally:
        await asyncio.to_thread(lab.docker, "rmi", "-f", ours, theirs)


async def test_every_trap_and_mutation_gives_the_image_that_a_rebuild_gives(
    layered: DockerRuntime, rebuilt: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    repo, before = Repo.create(root, "corpus.git"), Tree()
    # The traps that do not stand in each other's way come together, so that two comparisons hold them all.
    apart = {"directory becomes file", "link becomes file", "mode given", "file becomes link"}
    first, second = dict(START), dict(START)
    for name, change in TRAPS.items():
        if name in apart:
            second = mutate(second, change)
        else:
            first = mutate(first, change)
    commits = list[str]()
    for tree in [*([] if _FIRST else [first, second]), *islice(seeded(20261125), _FIRST, _FIRST + _MUTATIONS)]:
        changes: dict[str, Content | None] = {name: None for name in before if name not in tree}
        commits.append(repo.commit({**changes, **tree}))  # type: ignore[dict-item]
        before = tree
    url, room = server.url("corpus.git"), asyncio.Semaphore(3)

    async def compared(commit: str) -> None:
        async with room:
            await compare(commit, url, layered, rebuilt, store)

    await compared(commits[0])  # which makes the environment of all
    async with asyncio.TaskGroup() as group:
        for commit in commits[1:]:
            group.create_task(compared(commit))


async def test_a_start_script_is_executable_and_its_environment_another(
    layered: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    repo = Repo.create(root, "start.git")
    commit = repo.commit({"requirements.txt": "tqdm\n", "start": '#!/bin/sh\nFROM_START=yes exec "$@"\n'})
    image = f"{store.host}/tests/r2d-start:{commit}"
    told = await lab.build(layered, lab.job(server.url("start.git"), commit, image))
    assert told.end is not None
    assert told.end.ok, told.text
    lab.docker("pull", "-q", image)
    assert "yes" in lab.docker("run", "--rm", image, "sh", "-c", "echo $FROM_START; test -x start && echo executable")
    assert tree_of(image)["home/jovyan/start"][1] == 0o755
    lab.docker("rmi", image)


async def test_an_environment_is_found_until_it_is_too_old(
    store: RegistryServer, layered: DockerRuntime, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    commit = Repo.create(root, "age.git").commit({"requirements.txt": "tqdm\n", "b": "1"})
    told = await lab.build(layered, lab.job(server.url("age.git"), commit, f"{store.host}/tests/r2d-age:{commit}"))
    assert told.plan is not None
    assert await layered.images.environment_exists(told.plan.environment)
    assert not await layered.images.environment_exists("0" * 64)
    impatient = lab.runtime(store, "engine", builds_environment_days=1e-9)
    try:
        assert not await impatient.images.environment_exists(told.plan.environment)
        assert await impatient.images.exists(f"{store.host}/tests/r2d-age:{commit}") is Presence.YES
    finally:
        await impatient.aclose()


def test_a_layer_is_the_same_for_the_same_commit(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path, "same.git")
    repo.commit({**START, "start": Executable("#!/bin/sh\n")})  # type: ignore[dict-item]
    digests = set()
    for name in ("one", "two"):
        subprocess.run(["git", "clone", "-q", str(repo.path), "checkout"], cwd=_made(tmp_path / name), check=True)
        subprocess.run(["touch", "checkout/a.ipynb"], cwd=tmp_path / name, check=True)
        (tmp_path / "out").mkdir(exist_ok=True)
        digests.add(make(tmp_path / name / "checkout", tmp_path / "out" / f"{name}.tar.gz", 1).digest)
    assert len(digests) == 1
    with tarfile.open(tmp_path / "out" / "one.tar.gz") as tar:
        assert [member.name for member in tar][:2] == ["home", "home/jovyan"]
        assert {(member.uid, member.gid) for member in tar if member.name != "home"} == {(1000, 1000)}


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_an_environment_has_a_name_that_registries_take() -> None:
    assert Reference.parse("127.0.0.1:5000/tests/r2d-environments:" + "a" * 64).repository == "tests/r2d-environments"
    with pytest.raises(Misconfigured):
        Reference.parse("127.0.0.1:5000/Tests/environments:1")
