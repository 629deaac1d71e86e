"""Two owners of one attempt: wherever the first is stopped or killed, the second ends it well, and nothing is half.

The runs of the attempt are written down as ended ones, so what is tried is what owners do themselves: looking, copying, moving.
"""

import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from unittest.mock import ANY

import pytest

from services.runtimes.base import BuildJob, Exit
from services.runtimes.local.alone import alone, held
from services.runtimes.local.attempt import forget
from services.runtimes.local.bases import bare
from services.runtimes.local.builder import LocalBuilder
from services.runtimes.local.trees import remove, settle
from tests.services.runtimes.local.owner import Strict, end, workshop

ROOT = Path(__file__).parents[4]
PACKAGES = ("venv/lib/python3/site-packages/one/__init__.py", "venv/lib/python3/site-packages/two/a/b.py", "venv/bin/python")
STRUCK = {"stop": "stopped", "kill": "killed"}
CONTENT = {"index.ipynb": "{}", ".git/HEAD": "ref: refs/heads/main", "data/a.csv": "1,2"}


class Owners:
    """A home, and a process that owns attempts in it."""

    def __init__(self, home: Path) -> None:
        self.workshop = workshop(home)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.services.runtimes.local.owner", str(home)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        python = self.workshop.pythons[0].version
        made = home / "made"
        write(made, dict.fromkeys(PACKAGES, "x = 1"))
        settle(made / "venv", frozen=True)
        recipe = bare(python)
        self.workshop.environments.add(
            recipe.key(self.workshop.local.jupyter), made, self.workshop.interpreter(python), pinned=False, name="base")

    def close(self) -> None:
        """End the process."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            assert self._process.wait() == 0

    def ask(self, line: str) -> str:
        """What becomes of an owner."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def attempt(self, post_build: str, image: str = "") -> BuildJob:
        """An attempt whose runs have all ended."""
        job = BuildJob(secrets.token_hex(16), 1, image or secrets.token_hex(8), "git", "https://example.org/r", "c" * 40)
        directory, python = self.workshop.paths.builds / job.handle, self.workshop.pythons[0].version
        plan = {
            "kind": "python", "python": python, "requirements": [["tiny", "requirements.txt", 1, "tiny"]], "constraints": [],
            "options": [], "flags": [], "builds": False, "reads": ["postBuild reads it"] if post_build else [], "pinned": True,
            "post_build": post_build, "start": "", "conda": None, "tree": "d" * 40, "notices": ["A word."],
        }
        write(directory, {f"content/{name}": text for name, text in CONTENT.items()} | {
            "job.json": json.dumps({**asdict(job), "at": 2e9, "uid": self.workshop.paths.take_uid(job.handle)}), "log": "",
            "fetch.step/plan.json": json.dumps(plan), "wheels.step/result.json": '{"ok": true}'})
        for run in ("fetch", "wheels", "post", "compile"):
            write(directory / run, {"pid": '{"pid": 1, "started": 1}', "exit": '{"code": 0, "reason": "", "refused": 0}'})
        Strict(self.workshop, job).proceed(exists=False)
        return job

    def strike(self, how: str, change: int, post_build: str) -> BuildJob | None:
        """An attempt whose owner was stopped (`stop`) or killed (`kill`) at this change of files; None where it makes so many no more."""
        job = self.attempt(post_build)
        word = self.ask(f"{how} {change} {json.dumps(asdict(job))}")
        if word == STRUCK[how]:
            return job
        assert word == "ok"
        return None

    def check(self, job: BuildJob, post_build: str) -> None:
        """The image is there and whole."""
        record = self.workshop.images.open(job.image)
        assert files(record.content) == set(CONTENT)
        assert files(record.environment.directory) >= {*PACKAGES, "meta.json"}
        assert files(record.environment.directory) == {*PACKAGES, "meta.json"} | (
            {f"home/{name}" for name in CONTENT if not name.startswith(".git")} if post_build else set())


def write(root: Path, texts: dict[str, str]) -> None:
    """Write files below a directory, open to all."""
    for name, text in texts.items():
        path = root / name
        for parent in reversed(path.parents):
            if root.parent in parent.parents and not parent.exists():
                parent.mkdir(mode=0o755)
        path.write_text(text)


def files(root: Path) -> set[str]:
    """All that is below a directory and no directory itself."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def owners() -> Iterator[Owners]:
    home = Path(tempfile.mkdtemp(prefix="dockyard-owners-", dir="/tmp"))
    home.chmod(0o711)
    found = Owners(home)
    try:
        yield found
    finally:
        found.close()
        remove(home)


class Impatient(Strict):
    """One that leaves an attempt to whoever has it at once."""

    patience = 0.0


@pytest.mark.parametrize("post_build", ["", "postBuild"])
def test_an_owner_that_is_stopped_anywhere_hurts_no_other_and_none_hurts_it(owners: Owners, post_build: str) -> None:
    change = 1
    while job := owners.strike("stop", change, post_build):
        mine = Strict(owners.workshop, job)
        for _ in range(20):
            mine.look()
        assert owners.ask("go on") == "ok", f"stopped at change {change}"
        assert end(mine).ok, f"stopped at change {change}"
        owners.check(job, post_build)
        change += 3


@pytest.mark.parametrize("post_build", ["", "postBuild"])
def test_an_owner_that_is_killed_anywhere_is_followed_by_another(owners: Owners, post_build: str) -> None:
    change = 1
    while job := owners.strike("kill", change, post_build):
        found = end(Strict(owners.workshop, job))
        assert found.ok, f"killed at change {change}: {found.reason}"
        owners.check(job, post_build)
        change += 1


@pytest.mark.parametrize("post_build", ["", "postBuild"])
def test_an_owner_that_never_lets_go_is_left_behind_and_hurts_nobody_when_it_awakens(owners: Owners, post_build: str) -> None:
    change = 1
    while job := owners.strike("stop", change, post_build):
        given_up = end(Impatient(owners.workshop, job))
        if given_up.ok:  # it had come to its end, but for clearing up
            assert owners.ask("go on") == "ok"
            owners.check(job, post_build)
            change += 1
            continue
        assert given_up.retryable
        forget(owners.workshop, job.handle, 0)
        again = owners.attempt(post_build, job.image)
        assert end(Strict(owners.workshop, again)).ok
        owners.ask("go on")
        owners.check(again, post_build)
        change += 4  # each takes two attempts


async def test_an_answer_that_could_not_be_written_is_written_later(owners: Owners) -> None:
    job = owners.attempt("")
    directory, builder = owners.workshop.paths.builds / job.handle, LocalBuilder(owners.workshop)
    (directory / "go.json").unlink()
    away = directory.rename(directory.with_name("away"))
    await builder.proceed(job, environment_exists=False)
    away.rename(directory)
    *_, end_ = [item async for item in builder.follow(job, 1)]
    assert end_ == Exit(ok=True, facts={"environment": ANY, "reused": "no"})
    assert json.loads((directory / "go.json").read_text()) == {"exists": False}


def test_what_is_held_stays_so_until_its_programs_have_ended(tmp_path: Path) -> None:
    with alone(tmp_path) as ours:
        assert ours
        program = subprocess.Popen(["sleep", "600"], pass_fds=held())
        with alone(tmp_path) as twice:
            assert not twice
    with alone(tmp_path) as ours:
        assert not ours
    program.kill()
    program.wait()
    with alone(tmp_path) as ours:
        assert ours
