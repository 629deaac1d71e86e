"""A contained build is stopped at each limit, with a sentence; the kernel or the watcher does it, the repository cannot help it.

All cases run at once: each has a container, limits and a watcher of its own, and most of their time is waiting.
"""

import asyncio
import os
from pathlib import Path

import pytest

from tests.gitserver import GitServer, Repo
from tests.registryserver import RegistryServer
from tests.services.runtimes.docker import lab

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]
MB = 1 << 20
# With LIMITS=full what strangers get by our advice; else less, so that the run is short.
FULL = os.environ.get("LIMITS") == "full"
DISK, SECONDS = (2048 * MB, 60) if FULL else (1024 * MB, 12)
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
    "is silent": ("RUN sleep 300", "had said nothing for 5 seconds"),
}


async def ended(case: str, store: RegistryServer, repositories: tuple[Path, GitServer]) -> lab.Told:
    """What a build of the case has said."""
    root, server = repositories
    name = case.replace(" ", "-")
    commit = Repo.create(root, f"{name}.git").commit({
        "Dockerfile": f"FROM {lab.SMALL}\nCOPY . /content\n{CASES[case][0]}\n", "fork.py": FORK})
    # Whoever is not there for the limit of time has more of it, since all of them share the machine.
    runtime = lab.runtime(
        store, "contained", docker_build_memory=512 * MB, docker_build_bytes=DISK, docker_build_processes=64, docker_build_log_bytes=MB,
        builds_timeout=SECONDS if case == "sleeps" or FULL else 200, docker_build_idle=5 if case == "is silent" else 900)
    try:
        return await lab.build(runtime, lab.job(server.url(f"{name}.git"), commit, f"{store.host}/tests/{name}:{commit}"))
    finally:
        await runtime.aclose()


async def test_builds_without_end_are_stopped(store: RegistryServer, repositories: tuple[Path, GitServer]) -> None:
    found = await asyncio.gather(*(ended(case, store, repositories) for case in CASES))
    for told, (case, (_, words)) in zip(found, CASES.items(), strict=True):
        assert told.end is not None, case
        assert not told.end.ok, case
        assert not told.end.retryable, (case, told.end)
        assert words in told.end.reason, (case, told.end, told.text[-2000:])
