"""Copies of trees that survive whoever makes them, and attempts that survive trouble of the disk."""

import os
from pathlib import Path

import pytest

from services.runtimes.base import BuildJob, Exit, Phase
from services.runtimes.local import trees
from services.runtimes.local.attempt import Attempt
from services.runtimes.local.builder import LocalBuilder
from services.runtimes.local.paths import Paths
from services.runtimes.local.workshop import Workshop
from services.settings import BuildSettings, HomeSettings, LocalSettings

FILES = ("pyvenv.cfg", "bin/python", "lib/python3.11/site-packages/one/__init__.py", "lib/python3.11/site-packages/two/a/b/c.py")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
        (root / name).chmod(0o444)
    (root / "lib64").symlink_to("lib")
    (root / "lib/python3.11/site-packages/two").chmod(0o711)
    return root


def found(root: Path) -> dict[str, tuple[int, str]]:
    """Everything below, with its mode and what it holds."""
    def content(path: Path) -> str:
        return os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""

    return {str(path.relative_to(root)): (path.lstat().st_mode, content(path)) for path in root.rglob("*")}


def test_a_copy_is_what_it_was_made_from(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    trees.complete(source, tmp_path / "target", None)
    assert found(tmp_path / "target") == found(source)


def test_a_copy_that_was_cut_off_is_gone_on_with(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    packages = target / "lib/python3.11/site-packages"
    (packages / ".part-1/two").mkdir(parents=True)  # half of a batch
    (packages / ".part-1/two/half.py").write_text("")
    (packages / "one").mkdir()  # whole, and not copied again
    (packages / "one/__init__.py").write_text("kept")
    trees.complete(source, target, None)
    there = found(target)
    assert there.pop("lib/python3.11/site-packages/one/__init__.py")[1] == "kept"
    assert there == {name: what for name, what in found(source).items() if name != "lib/python3.11/site-packages/one/__init__.py"}


class Troubled(Attempt):
    """An attempt whose disk gives trouble, so many times."""

    times = 0

    def _look(self) -> Exit:
        self.times -= 1
        if self.times >= 0:
            raise trees.NotMoved("The files could not be put in their place.")
        return Exit(ok=True)


@pytest.mark.parametrize(("trouble", "ok"), [(1e9, True), (0.0, False)])
def test_trouble_of_the_disk_is_waited_for_and_may_be_over_at_another_attempt(tmp_path: Path, trouble: float, ok: bool) -> None:
    paths = Paths.of(LocalSettings(), HomeSettings(path=str(tmp_path))).make()
    job = BuildJob(id="0" * 32, attempt=1, image="i", provider="git", repo_url="u", commit="c")
    attempt = Troubled(Workshop(paths, LocalSettings(), BuildSettings()), job)
    attempt.directory.mkdir()
    attempt.times, attempt.trouble = 1, trouble
    found = None
    while found is None:
        attempt._again = 0.0
        found = attempt.look()
    assert isinstance(found, Exit)
    assert (found.ok, found.ok or found.retryable) == (ok, True)


async def test_a_build_that_cannot_begin_for_a_moment_begins_later(tmp_path: Path) -> None:
    paths = Paths.of(LocalSettings(), HomeSettings(path=str(tmp_path))).make()
    builder = LocalBuilder(Workshop(paths, LocalSettings(), BuildSettings()))
    job = BuildJob(id="0" * 32, attempt=1, image="i", provider="git", repo_url="u", commit="c")
    in_the_way = paths.builds / job.handle
    in_the_way.write_text("")
    await builder.start(job)
    following = builder.follow(job, 1)
    assert isinstance(await anext(following), Phase)
    in_the_way.unlink()
    in_the_way.mkdir()
    (in_the_way / "exit.json").write_text('{"ok": true}')
    assert await anext(following) == Exit(ok=True)
