"""A directory of a repository, an environment of another, and private ones: in real builds, by layers and as a whole."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.egress.logins import Logins
from services.runtimes.base import Source
from services.runtimes.docker import DockerRuntime
from tests.gitserver import Executable, GitServer, Repo
from tests.registryserver import RegistryServer
from tests.services.runtimes.docker import lab
from tests.services.runtimes.docker.test_layers import tree_of

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]
LOGIN = "reader:canary-31"


@pytest.fixture(scope="module")
async def layered(store: RegistryServer) -> AsyncIterator[DockerRuntime]:
    found = lab.runtime(store, "engine")
    yield found
    await found.aclose()


@pytest.fixture(scope="module")
async def whole(bench: None) -> AsyncIterator[DockerRuntime]:
    found = lab.runtime(None, "engine")
    yield found
    await found.aclose()


async def test_content_on_another_repositorys_environment(
    layered: DockerRuntime, whole: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    env, repo = Repo.create(root, "layout-env.git"), Repo.create(root, "layout.git")
    environment = Source("git", server.url("layout-env.git"), env.commit({
        "requirements.txt": "tqdm\n", "data/shared.csv": "1\n", "README.md": "environment\n",  # what test_layers has made already
    }), "main")
    first = repo.commit({
        "part/README.md": "content\n", "part/postBuild": Executable("#!/bin/sh\nexit 1\n"), "part/data/own.csv": "2\n", "other.txt": "x",
    })
    url, more = server.url("layout.git"), {"subdir": "part", "environment": environment}
    ours, theirs = f"{store.host}/tests/r2d-layout:{first}", f"tests/r2d-layout:{first}"
    made = await lab.build(layered, lab.job(url, first, ours, **more))
    assert made.end is not None
    assert made.end.facts.get("layered") == "yes", made.text
    assert "Only part of it is built." in made.text
    assert "postBuild of the content is left out" in made.text
    again = await lab.build(whole, lab.job(url, first, theirs, **more))
    assert again.end is not None
    assert again.end.ok, again.text
    second = repo.commit({"part/new.ipynb": "{}\n"})
    newer = await lab.build(layered, lab.job(url, second, f"{store.host}/tests/r2d-layout:{second}", **more))
    assert made.plan is not None
    assert newer.plan is not None
    assert newer.plan.environment == made.plan.environment
    assert newer.end is not None
    assert newer.end.facts.get("layered") == "yes", newer.text
    assert "BuildPack" not in newer.text, "no build"
    lab.docker("pull", "-q", ours)
    try:
        found = tree_of(ours)
        assert found == tree_of(theirs)
    finally:
        lab.docker("rmi", "-f", ours, theirs)
    names = {name.removeprefix("home/jovyan/") for name in found}
    assert {"README.md", "data/shared.csv", "data/own.csv", "requirements.txt"} <= names
    assert not {"postBuild", "other.txt", "part", ".git"} & names


async def test_a_missing_directory_and_a_missing_environment_are_told(
    whole: DockerRuntime, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    commit = Repo.create(root, "without.git").commit({"a": ""})
    url = server.url("without.git")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"subdir": "nowhere"}, 'The repository has no directory "nowhere" at this commit'),
        ({"environment": Source("git", server.url("nothing.git"), "1" * 40)}, "The environment repository: Failed to clone repository"),
    ]
    found = await asyncio.gather(*(lab.build(whole, lab.job(url, commit, f"tests/r2d-without:{commit}", **more)) for more, _ in cases))
    for told, (_, reason) in zip(found, cases, strict=True):
        assert told.end is not None
        assert reason in told.end.reason, told.text


async def test_a_build_cannot_find_what_its_repository_was_fetched_with(
    bench: None, repositories: tuple[Path, GitServer], tmp_path: Path,
) -> None:
    """The repository looks for the login wherever a process of its build may look: memory is out of reach, all else is read."""
    root, _ = repositories
    script = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline .git/config ~/.git-credentials /build/dockyard/* 2>/dev/null | " \
             "tr '\\0' '\\n' | grep -i 'canar[y]' && exit 1; env | grep -i 'canar[y]' && exit 1; exit 0\n"
    commit = Repo.create(root, "curious.git").commit({"look": script, "Dockerfile": f"FROM {lab.SMALL}\nCOPY . .\nRUN sh ./look\n"})
    with GitServer(root, host=lab.gateway()) as private:
        private.login = LOGIN
        async def built(builder: str) -> None:
            runtime = lab.runtime(None, builder, providers_git_credentials=json.dumps({
                private.address: r"username=reader\npassword=canary-31"}))
            image = f"tests/r2d-curious-{builder}:{commit}"
            try:
                told = await lab.build(runtime, lab.job(private.url("curious.git"), commit, image))
            finally:
                await runtime.aclose()
            assert told.end is not None
            assert told.end.ok, told.text
            assert "canary" not in told.text + lab.docker("image", "inspect", image) + lab.docker("history", "--no-trunc", image)
            lab.docker("rmi", "-f", image)

        await asyncio.gather(built("contained"), built("engine"))


async def test_the_two_containers_of_a_pod(bench: None, repositories: tuple[Path, GitServer]) -> None:
    """What Kubernetes starts for a private repository, one after the other: the second knows no login and tells the whole story."""
    root, _ = repositories
    commit = Repo.create(root, "pod.git").commit({"part/Dockerfile": f"FROM {lab.SMALL}\nRUN ! env | grep -i 'canar[y]'\n"})
    image = f"tests/r2d-pod:{commit}"
    with GitServer(root, host=lab.gateway()) as private:
        private.login = LOGIN
        login = {private.address: r"username=reader\npassword=canary-31"}
        found = lab.settings(None, "engine", providers_git_credentials=json.dumps(login))
        logins = Logins(found.providers).for_sources([("git", private.url("pod.git"))])
        told = {"repo_url": private.url("pod.git"), "commit": commit, "image": image, "mode": "engine", "subdir": "part",
                "destination": image, "plain": True}
        volume = lab.docker("volume", "create")
        words = ["run", "--rm", "-v", f"{volume}:/build", "-v", "/var/run/docker.sock:/var/run/docker.sock", "-e", "TMPDIR=/build/tmp",
                 "--entrypoint", "python", "-e", f"DOCKYARD_JOB={json.dumps(told)}"]
        try:
            assert lab.docker(*words, "-e", f"DOCKYARD_LOGINS={logins}", lab.IMAGE, "-m", "steps.pod", "fetch") == ""
            before = len(private.requests)
            text = lab.docker(*words, "-e", "BUILDX_NO_DEFAULT_ATTESTATIONS=1", lab.IMAGE, "-m", "steps.pod")
            assert len(private.requests) == before
            looking = ("--entrypoint", "grep", lab.IMAGE, "-ri", "canary", "/build")
            left = lab.docker("run", "--rm", "-v", f"{volume}:/build", *looking, check=False)
        finally:
            lab.docker("volume", "rm", "-f", volume)
    assert "Only part of it is built." in text
    assert f"Fetching {told['repo_url']}" in text
    assert left == ""
    lab.docker("rmi", "-f", image)
