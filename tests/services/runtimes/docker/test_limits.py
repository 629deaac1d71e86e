"""A contained build is stopped at each limit, with a sentence; the kernel or the watcher does it, the repository cannot help it."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.runtimes.docker import DockerRuntime
from tests.gitserver import GitServer, Repo
from tests.services.registry.servers import RegistryServer
from tests.services.runtimes.docker import lab

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]
MB = 1 << 20
# With LIMITS=full what strangers get by our advice; else less, so that the run is short.
DISK, SECONDS = (2048 * MB, 60) if os.environ.get("LIMITS") == "full" else (1024 * MB, 20)
FORK = """
import subprocess, time
while True:
    try:
        subprocess.Popen(["sleep", "300"])
    except OSError:
        time.sleep(0.1)
"""
CASES = {
    "allocates": ("RUN python3 -c 'x = [bytearray(10**7) for _ in range(1000)]'", "ran out of memory"),
    "writes": ("RUN dd if=/dev/zero of=/large bs=1M count=4000 && sleep 300", "of disk"),
    "forks": ("RUN python3 /content/fork.py", "processes"),
    "prints": ("RUN yes 'a rather long line that is printed without end, again and again and again'", "printed more than"),
    "sleeps": ("RUN echo waiting; sleep 300", "seconds, the most"),
}


@pytest.fixture(scope="module")
async def runtime(store: RegistryServer) -> AsyncIterator[DockerRuntime]:
    found = lab.runtime(
        store, "contained", docker_build_memory=512 * MB, docker_build_bytes=DISK, docker_build_processes=64,
        docker_build_log_bytes=MB, builds_timeout=SECONDS)
    yield found
    await found.aclose()


@pytest.mark.parametrize("case", CASES)
async def test_a_build_without_end_is_stopped(
    case: str, runtime: DockerRuntime, store: RegistryServer, repositories: tuple[Path, GitServer],
) -> None:
    root, server = repositories
    line, words = CASES[case]
    commit = Repo.create(root, f"{case}.git").commit({"Dockerfile": f"FROM {lab.SMALL}\nCOPY . /content\n{line}\n", "fork.py": FORK})
    began = time.monotonic()
    told = await lab.build(runtime, lab.job(server.url(f"{case}.git"), commit, f"{store.host}/tests/{case}:{commit}"))
    assert told.end is not None
    assert not told.end.ok
    assert not told.end.retryable
    assert words in told.end.reason, told.text[-2000:]
    assert time.monotonic() - began < 120


async def test_a_silent_build_is_stopped(store: RegistryServer, repositories: tuple[Path, GitServer]) -> None:
    root, server = repositories
    runtime = lab.runtime(store, "contained", docker_build_idle=5)
    try:
        commit = Repo.create(root, "silent.git").commit({"Dockerfile": f"FROM {lab.SMALL}\nRUN sleep 300\n"})
        told = await lab.build(runtime, lab.job(server.url("silent.git"), commit, f"{store.host}/tests/silent:{commit}"))
    finally:
        await runtime.aclose()
    assert told.end is not None
    assert "had said nothing for 5 seconds" in told.end.reason
