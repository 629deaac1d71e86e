"""Whole benches, as small as they can be: they measure, check, and leave nothing behind."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import below, ended, gone, words

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def bench(directory: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    environ = {**os.environ, "TMPDIR": str(directory), "PYTHONPATH": str(ROOT)}
    with ended(subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments, "--json"], cwd=ROOT, env=environ, stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )) as process:
        yield process


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for the benches alone, which the database's account can pass as it can /tmp."""
    with tempfile.TemporaryDirectory(prefix="dockyard-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def left_behind(directory: Path) -> list[str]:
    """Directories, and processes that were told of one."""
    found = [str(path) for path in directory.glob("dockyard-bench-*")]
    for process in psutil.process_iter():
        found += [word for word in words(process) if word.startswith(f"{directory}/dockyard-bench-")]
    return found


async def nothing_left(directory: Path) -> None:
    until = time.monotonic() + 60  # what was told to end may need a moment
    while left := left_behind(directory):
        assert time.monotonic() < until, left
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(("arguments", "first"), [
    (("launches", "-c", "4", "-d", "0.5", "-n", "1"), "4 clients: ready per second"),
    (("watchers", "-w", "30", "-d", "1", "-n", "1"), "watchers with every line live"),
    (("watchers", "-w", "30", "-d", "1", "-n", "1", "--via", "events"), "watchers with every line live"),
    (("crowd", "-c", "40", "-d", "1"), "from a client's coming to its server, p50"),
    (("pages", "-c", "4", "-d", "0.2", "-n", "1"), "home: requests per second"),
    (("idle", "-d", "1", "-n", "1", "--mock-hub"), None),
], ids=["launches", "watchers", "watchers of one launch", "crowd", "pages", "idle"])
async def test_a_small_bench(directory: Path, arguments: tuple[str, ...], first: str | None) -> None:
    with bench(directory, *arguments) as process:
        out, _ = await asyncio.to_thread(process.communicate)
    said = json.loads(out)
    assert [check for check in said["checks"] if not check["ok"]] == []
    assert process.returncode == 0
    assert first in (None, said["figures"][0]["name"])
    for figure in said["figures"]:  # a machine that is slow has no line live, and other processes share the memory
        assert figure["median"] >= 0 or any(word in figure["name"] for word in ("lag", "memory")), figure
    await nothing_left(directory)


async def test_a_bench_that_is_ended_ends_what_it_started(directory: Path) -> None:
    with bench(directory, "launches", "-c", "2", "-d", "600", "-n", "1") as process:
        family: list[psutil.Process] = []
        while not any("bench.mock_hub" in words(child) for child in family) or len(family) < 6:
            await asyncio.sleep(0.1)
            family = below(process.pid)
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.communicate)
        assert process.returncode == 130
        await gone(*[child.pid for child in family])
    await nothing_left(directory)
