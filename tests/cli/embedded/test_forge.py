"""The forge: what it forks looks and ends like a process of its own, and a dead forge is noticed."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from cli.embedded.child import Child, Command, Log
from cli.embedded.forge import GONE, Forge
from tests.processes import gone

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import json, os, sys, colorsys
print(json.dumps({"argv": sys.argv, "environ": dict(os.environ), "cwd": os.getcwd(), "leads": os.getsid(0) == os.getpid(),
                  "name": __name__, "shared": hasattr(colorsys, "mark")}), flush=True)
if sys.argv[1] == "wait":
    sys.stdin.read()
    import signal; signal.pause()
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[tuple[Forge, Child]]:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "marker.py").write_text("import colorsys\ncolorsys.mark = True\n")
    path = tmp_path / "forge.sock"
    argv = (sys.executable, "-P", "-m", "cli.embedded.forged", str(path), "marker", "no_such_module")
    log = Log(tmp_path / "forge.log")
    child = Child(Command(argv, {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": os.defpath}, cwd=tmp_path), log)
    await child.start()
    made = Forge(path)
    try:
        while not await made.connect():
            assert child.running, list(child.tail)
            await asyncio.sleep(0.01)
        yield made, child
    finally:
        await child.stop()
        made.close()
        log.close()


def program(tmp_path: Path, forge: Forge, *words: str) -> Child:
    log = Log(tmp_path / "program.log")
    command = Command((), {"MARK": "yes"}, cwd=Path("/"), module=("program", *words), grace=5)
    return Child(command, log, expected='"argv"', forge=forge)


async def test_a_fork_is_like_a_process_of_its_own(forge: tuple[Forge, Child], tmp_path: Path) -> None:
    child = program(tmp_path, forge[0], "3")
    await child.start()
    assert await child.wait() == 3
    child.log.close()
    told = json.loads(child.tail[0])
    assert told["environ"] == {"MARK": "yes"}
    assert told["argv"][1:] == ["3"]
    assert (told["cwd"], told["leads"], told["name"], told["shared"]) == ("/", True, "__main__", True)


async def test_its_command_line_says_what_it_is(forge: tuple[Forge, Child], tmp_path: Path) -> None:
    child = program(tmp_path, forge[0], "wait")
    await child.start()
    async with asyncio.timeout(60):
        while not child.said:
            await asyncio.sleep(0.01)
    assert psutil.Process(child.pid).cmdline() == [sys.executable, "-P", "-m", "program", "wait"]
    os.kill(child.pid, signal.SIGUSR1)
    assert await child.wait() == -signal.SIGUSR1
    child.log.close()


async def test_a_dead_forge_takes_its_forks_along(forge: tuple[Forge, Child], tmp_path: Path) -> None:
    child = program(tmp_path, forge[0], "wait")
    await child.start()
    forge[1].kill()
    assert await child.wait() == GONE
    child.log.close()
    await gone(child.pid)
    assert not await forge[0].connect()
