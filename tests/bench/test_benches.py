"""Whole benches, as small as they can be: they measure, check, and leave nothing behind."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def start(directory: Path, *words: str) -> "subprocess.Popen[bytes]":
    environ = {**os.environ, "TMPDIR": str(directory), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *words, "--json"], cwd=ROOT, env=environ, stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


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
        with contextlib.suppress(psutil.Error):
            found += [word for word in process.cmdline() if word.startswith(f"{directory}/dockyard-bench-")]
    return found


@pytest.mark.parametrize(("words", "first"), [
    (("launches", "-c", "4", "-d", "0.5", "-n", "1"), "4 clients: ready per second"),
    (("watchers", "-w", "30", "-d", "1", "-n", "1"), "watchers with every line live"),
    (("watchers", "-w", "30", "-d", "1", "-n", "1", "--via", "events"), "watchers with every line live"),
    (("crowd", "-c", "40", "-d", "1"), "from a client's coming to its server, p50"),
    (("pages", "-c", "4", "-d", "0.2", "-n", "1"), "home: requests per second"),
    (("idle", "-d", "1", "-n", "1", "--mock-hub"), None),
], ids=["launches", "watchers", "watchers of one launch", "crowd", "pages", "idle"])
async def test_a_small_bench(directory: Path, words: tuple[str, ...], first: str | None) -> None:
    process = start(directory, *words)
    out, _ = await asyncio.to_thread(process.communicate)
    said = json.loads(out)
    assert [check for check in said["checks"] if not check["ok"]] == []
    assert process.returncode == 0
    assert first in (None, said["figures"][0]["name"])
    assert all(figure["median"] >= 0 for figure in said["figures"])
    assert left_behind(directory) == []


async def test_a_bench_that_is_ended_ends_what_it_started(directory: Path) -> None:
    process = start(directory, "launches", "-c", "2", "-d", "60", "-n", "1")
    family: list[psutil.Process] = []
    while not any("bench.mock_hub" in " ".join(child.cmdline()) for child in family) or len(family) < 6:
        await asyncio.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.communicate)
    assert process.returncode == 130
    _gone, alive = await asyncio.to_thread(psutil.wait_procs, family, 10)
    assert not alive
    assert left_behind(directory) == []
