"""The supervisor on stand-in parts: order, restarts, the end, and what a killed supervisor leaves."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cli import supervisor
from cli.embedded import leftovers
from cli.embedded.child import Command
from cli.supervisor import Part, Supervisor
from services.errors import Misconfigured
from tests.processes import kill

STAND_IN = Path(__file__).with_name("stand_in.py")
CHECKOUT = STAND_IN.parents[2]


def part(directory: Path, name: str, *words: str, grace: float = 60, **more: object) -> Part:
    argv = (sys.executable, "-I", str(STAND_IN), name, str(directory), *words)
    more = {"says": "up and running"} | more
    return Part(name, lambda: Command(argv, dict(os.environ), grace=grace), **more)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    return leftovers.start_time(pid) is not None


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


class Tree:
    """A supervisor in this process, with what it has said."""

    def __init__(self, directory: Path, *parts: Part) -> None:
        self.directory, self.said = directory, list[str]()
        self.pids = directory / "pids"
        self.pids.mkdir(exist_ok=True)
        self.supervisor = Supervisor(parts, directory, self.pids, lambda name, text: self.said.append(f"{name}: {text}"))
        self.up = asyncio.Event()

    async def greet(self) -> None:
        self.up.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Tree"]:
        task = asyncio.create_task(self.supervisor.run(self.greet))
        waiting = asyncio.create_task(self.up.wait())
        try:
            async with asyncio.timeout(60):
                await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            yield self
            self.supervisor.stop()
        finally:
            waiting.cancel()
            async with asyncio.timeout(60):
                await task

    def story(self) -> list[str]:
        return (self.directory / "story").read_text().splitlines()


async def test_starts_in_order_and_stops_in_the_opposite_one(tmp_path: Path) -> None:
    tree = Tree(
        tmp_path, part(tmp_path, "front", after=("database",)), part(tmp_path, "database"),
        part(tmp_path, "last", outlives=("database",)),
    )
    async with tree.running():
        assert not any("started again" in line for line in tree.said)
    story = tree.story()
    assert story.index("database started") < story.index("front started")
    assert story.index("front stopped") < story.index("database stopped") < story.index("last stopped")
    assert leftovers.running(tree.pids) == {}


async def test_a_crashed_part_starts_again_and_it_is_said(tmp_path: Path) -> None:
    tree = Tree(tmp_path, part(tmp_path, "front"))
    async with tree.running():
        os.kill(tree.supervisor.children["front"].pid, signal.SIGKILL)
        await until(lambda: "front: ready again" in tree.said)
    assert any(line.startswith("front: was ended by SIGKILL; it is started again in 0.5 s") for line in tree.said)


async def test_a_part_that_fails_at_first_is_tried_again_with_its_last_words(tmp_path: Path) -> None:
    tree = Tree(tmp_path, part(tmp_path, "front", "--fail", "1"))
    async with tree.running():
        assert tree.up.is_set()
    assert "front:   | front has a reason to fail" in tree.said


async def test_a_part_that_never_comes_up_ends_the_whole(tmp_path: Path) -> None:
    tree = Tree(tmp_path, part(tmp_path, "other"), part(tmp_path, "front", "--fail", "1000", once=True, says=""))
    with pytest.raises(Misconfigured, match=r"front has a reason to fail\nfront does not start: it exited with status 3"):
        async with tree.running():
            pass
    assert leftovers.running(tree.pids) == {}


async def test_a_part_that_was_up_is_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.01)
    tree = Tree(tmp_path, part(tmp_path, "front", "--fail-again", str(supervisor.TRIES + 2)))
    async with tree.running():
        tree.pids.rename(tmp_path / "away")  # nothing can be written down, as on a full disk
        os.kill(tree.supervisor.children["front"].pid, signal.SIGKILL)
        await until(lambda: "front: ready again" in tree.said)
    assert sum("exited with status 4" in line for line in tree.said) == supervisor.TRIES + 2
    assert any("runs and cannot be written down" in line for line in tree.said)


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    tree = Tree(tmp_path, Part("front", lambda: Command(("/nonexistent/program",))))
    with pytest.raises(Misconfigured, match="front cannot be started: No such file"):
        async with tree.running():
            pass


async def test_a_refused_preparation_ends_the_whole_in_its_sentence(tmp_path: Path) -> None:
    async def refuse() -> None:
        raise Misconfigured("Not on this machine.")

    tree = Tree(tmp_path, part(tmp_path, "other"), part(tmp_path, "front", prepare=refuse))
    with pytest.raises(Misconfigured, match="Not on this machine"):
        async with tree.running():
            pass


async def test_the_stubborn_and_their_children_are_killed(tmp_path: Path) -> None:
    tree = Tree(tmp_path, part(tmp_path, "front", "--stubborn", "--child", grace=0.5))
    async with tree.running():
        pid, child = tree.supervisor.children["front"].pid, int((tmp_path / "front.child").read_text())
    await until(lambda: not alive(pid) and not alive(child))


async def test_a_signal_stops_everything(tmp_path: Path) -> None:
    tree = Tree(tmp_path, part(tmp_path, "front"))
    task = asyncio.create_task(tree.supervisor.run(tree.greet))
    await until(tree.up.is_set)
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(60):
        await task
    assert tree.story()[-1] == "front stopped"


async def test_leftovers_of_a_killed_supervisor_are_found_and_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    stubborn = await asyncio.create_subprocess_exec(
        sys.executable, "-I", STAND_IN, "front", tmp_path, "--stubborn", stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )
    try:
        assert stubborn.stdout is not None
        await stubborn.stdout.readline()
        leftovers.remember(pids, "front", stubborn.pid)
        (pids / "reused").write_text('{"pid": %d, "start": 1}' % os.getpid())  # noqa: UP031 - braces
        (pids / "broken").write_text("{")
        assert leftovers.running(pids) == {"front": stubborn.pid}
        assert await asyncio.to_thread(leftovers.clean, pids) == ["front"]
        assert await stubborn.wait() == -signal.SIGKILL
    finally:
        kill(stubborn.pid)
        await stubborn.communicate()
    assert list(pids.iterdir()) == []


PARENT = """
import asyncio, os, sys
from pathlib import Path
from tests.cli.test_supervisor import part
from cli.supervisor import Supervisor
directory = Path(sys.argv[1])
async def ready(): print("up", flush=True)
supervisor = Supervisor([part(directory, "front")], directory, directory / "pids", lambda *_: None)
asyncio.run(supervisor.run(ready))
"""


async def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, tmp_path, cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        assert await parent.stdout.readline() == b"up\n"
        [(_, pid)] = leftovers.running(tmp_path / "pids").items()
    finally:
        parent.kill()
        await parent.communicate()
    await until(lambda: not alive(pid))
