"""One attempt at a build: fetch, plan, environment, image. Its directory holds everything; this is how it is read and moved on.

    job.json      what is built               plan.json   what the environment is made of
    log           the one log of all runs     go.json     the answer to the plan
    fetch/ …      the runs                    exit.json   how it ended

`look` brings the attempt as far as it goes without waiting and says where it stands. It is written so that being killed at any
line leaves a state that the next call goes on from: files are written whole and once, and moves into the stores may be done
twice. One owner looks at a time (see `alone`).
"""

import errno
import json
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from services.egress import Purpose
from services.errors import DockyardError, ImageVanished
from services.runtimes.base import BuildJob, Exit, Plan
from services.runtimes.local import detached, told, trees, words
from services.runtimes.local.alone import PATIENCE, alone
from services.runtimes.local.bases import base, finished
from services.runtimes.local.environments import Environment
from services.runtimes.local.groups import remove_left_groups
from services.runtimes.local.interpreters import REPO2DOCKER_DEFAULT, Interpreter
from services.runtimes.local.making import Making, last_line, set_git_aside
from services.runtimes.local.recipe import Recipe
from services.runtimes.local.sandbox import VENV
from services.runtimes.local.workshop import Step, Workshop, result

_TROUBLE, _AGAIN = 15.0, 1.0  # seconds that the disk may give trouble (it is full for a moment), and until it is tried again
_LAST = 10.0  # seconds that a step which goes on is waited for before everything is stopped

OF_CONDA = Interpreter("conda", f"{VENV}/bin/python", "/usr", "/usr")


class Attempt:
    """One attempt, by its directory."""

    patience, trouble = PATIENCE, _TROUBLE

    def __init__(self, workshop: Workshop, job: BuildJob) -> None:
        self.workshop = workshop
        self.job = job
        self.directory = workshop.paths.builds / job.handle
        self.log = self.directory / "log"
        self.begun = True  # otherwise the first look begins
        self.answer: bool | None = None  # to the plan, where it could not be written yet
        self._held: float | None = None  # since when somebody else has had it
        self._troubled: float | None = None  # since when looks have met with trouble of the disk
        self._again = 0.0

    def begin(self) -> None:
        """Start fetching, unless the attempt has begun."""
        if not (self.directory / "job.json").exists():
            self.workshop.paths.make()
            mode = 0o700 if self.workshop.paths.first_uid is None else 0o711
            self.directory.mkdir(mode=mode, exist_ok=True)
            self._write("job.json", {**asdict(self.job), "at": time.time(), "uid": self.workshop.paths.take_uid(self.job.handle)})
        with alone(self.directory) as ours:
            if ours:  # otherwise whoever has it does so
                self.workshop.run(self.directory, self._fetch(), self.log)

    def look(self) -> Plan | Exit | None:
        """Where the attempt stands: waiting for an answer to its plan, ended, or None while it goes on. Blocking."""
        ended = self._read("exit.json")
        if ended is not None:
            return Exit(**ended)
        if time.monotonic() < self._again:
            return None
        try:
            if not self.begun:
                self.begin()
                self.begun = True
            with alone(self.directory) as ours:
                found = self._ended_or_looked() if ours else self._refused()
        except (trees.NotMoved, OSError) as error:
            now = time.monotonic()
            if self._troubled is None:
                self._troubled = now
            if now - self._troubled < self.trouble:
                self._again = now + _AGAIN
                return None
            reason = error.sentence if isinstance(error, DockyardError) else f"The build could not go on: {error.strerror}."
            return Exit(ok=False, reason=reason, retryable=True, wait=words.FULL)
        self._troubled = None
        return found

    def _ended_or_looked(self) -> Plan | Exit | None:
        """`look`, while the directory is ours."""
        self._held = None
        ended = self._read("exit.json")
        if ended is not None:
            return Exit(**ended)
        try:
            found = self._look()
        except trees.NotMoved:
            raise
        except DockyardError as error:
            found = Exit(ok=False, reason=error.sentence, retryable=error.retryable or isinstance(error, ImageVanished))
        if isinstance(found, Exit):
            self._write("exit.json", asdict(found))
        return found

    def _refused(self) -> Exit | None:
        """Wait for whoever has the attempt, or leave it to them: another attempt has another directory."""
        self._held = self._held or time.monotonic()
        if time.monotonic() - self._held < self.patience:
            return None
        detached.stop_all(detached.runs(self.directory, 0))
        trees.discard(self.directory)
        return Exit(ok=False, reason=f"Another process has not let go of this build for {self.patience:.0f} seconds.", retryable=True)

    def proceed(self, *, exists: bool) -> None:
        """Answer the plan; the first answer holds."""
        self._write("go.json", {"exists": exists})

    def stop(self) -> None:
        """End whatever runs of it. What is being started at this moment is waited for."""
        with suppress(FileNotFoundError), alone(self.directory, _LAST):
            detached.stop_all(detached.runs(self.directory, 0))

    def _look(self) -> Plan | Exit | None:
        plan = self._read("plan.json")
        if plan is None:
            end = self.workshop.run(self.directory, self._fetch(), self.log)
            if end is None:
                return None
            exit_ = self._fetched(end)
            if exit_ is not None:
                return exit_
            plan = self._read("plan.json")
            if plan is None:
                raise FileNotFoundError(errno.ENOENT, "the attempt was removed meanwhile")
        recipe = Recipe.load(plan["recipe"])
        if self.answer is not None:
            self.proceed(exists=self.answer)
        answer = self._read("go.json")
        if answer is None:
            return Plan(plan["key"], plan["why"])
        exists = bool(answer["exists"]) and self.workshop.environments.find(plan["key"])
        if self._say("go", "building", recipe.told(exists=bool(exists))):
            return None  # so that whoever follows reads it before what takes time
        environment = exists or self._make(recipe)
        if environment is None or isinstance(environment, Exit):
            return environment
        return self._image(recipe, environment, reused=bool(exists))

    def _fetched(self, end: detached.Ended) -> Exit | None:
        """Take over the plan from the fetch, or say why there is none."""
        found, plan = result(self.directory, "fetch"), result(self.directory, "fetch", "plan.json")
        if end.reason or (found is None and (plan is None or end.code != 0)):
            step = self._fetch()
            return words.ended(end, "Fetching the repository", self.workshop.limits(step), last_line(self.log))
        if found is not None or plan is None:
            value: Mapping[str, Any] = found or {}
            return Exit(
                ok=False, reason=str(value.get("reason", ""))[:2000], hint=str(value.get("hint", ""))[:1000],
                retryable=bool(value.get("retryable")),
            )  # fmt: skip
        recipe = Recipe.read(plan)
        for number, notice in enumerate(recipe.notices[:100]):
            self._say(f"notice-{number}", "building", notice[:1000])
        if recipe.conda is not None:
            if self.workshop.conda_answers():
                recipe = recipe.with_channels(REPO2DOCKER_DEFAULT)
            else:
                recipe = recipe.with_index()
                self._say("conda", "building", "conda's channels do not answer here: taking the packages from the package index.")
        self._write("plan.json", {"recipe": recipe.json(), "key": recipe.key(self.workshop.local.jupyter), "why": recipe.why()})
        return None

    def _make(self, recipe: Recipe) -> Environment | Exit | None:
        # conda's own Python stands in the environment itself.
        interpreter = OF_CONDA if recipe.with_conda else self.workshop.interpreter(recipe.python)
        begin: Environment | None = None
        based = not recipe.empty and not recipe.with_conda and not self.job.no_cache
        if based and not (self.directory / "baseless").exists():
            made, log = base(self.workshop, recipe.python)
            if log is not None:
                self._say("base", "building", f"Preparing Jupyter for Python {interpreter.minor}; this is done once.")
                told.repeat(self.log, log)
            if made is None:
                return None
            if log is not None:
                finished(log)
            if isinstance(made, Exit):  # then let the repository's own installation say what is wrong
                (self.directory / "baseless").touch()
            else:
                begin = made
        content = self.directory / "content"
        return Making(
            self.workshop, self.directory, recipe, interpreter, self.log, self.job.handle, self._uid(), begin, content, self._left(),
            cached=not self.job.no_cache,
        ).look()

    def _image(self, recipe: Recipe, environment: Environment, *, reused: bool) -> Exit:
        """Put the image together: the content of the commit, or the home as the environment's making has left it."""
        content, image = self.directory / "content", self.directory / "image"
        if not image.exists() and environment.home is not None:
            if content.exists():
                set_git_aside(content)
            draft = self.directory / ".image"
            if not os.path.lexists(draft / ".git"):  # it comes last, and is nowhere else once it is there
                trees.discard(draft)
                draft.mkdir(mode=0o755)
                trees.link(environment.home, draft, None)
                git = self.directory / "git"
                if os.path.lexists(git):
                    trees.settle(git)
                    with suppress(FileNotFoundError):
                        git.rename(draft / ".git")
            draft.rename(image)
        elif not image.exists() and content.exists():
            trees.settle(content)
            content.rename(image)
        facts = {"start": recipe.start, "commit": self.job.commit, "repo_url": self.job.repo_url}
        self.workshop.images.add(self.job.image, image, environment, facts, name=self.job.handle)
        return Exit(ok=True, facts={"environment": environment.key, "reused": "yes" if reused else "no"})

    def _fetch(self) -> Step:
        local, builds = self.workshop.local, self.workshop.builds
        job = {
            "repo_url": self.job.repo_url, "commit": self.job.commit, "ref": self.job.ref,
            "subdir": self.job.subdir, "environment": asdict(self.job.environment) if self.job.environment else None,
            "files": [file.told() for file in self.job.files],
            "repository_bytes": local.repository_bytes, "fetch_timeout": local.fetch_timeout,
            "patience": builds.patience / builds.attempts,
            "pythons": [one.version for one in self.workshop.pythons], "default_python": self.workshop.default_python(),
        }
        return Step(
            "fetch", Purpose.FETCH, ("step", "fetch"), self._uid(), self.directory / "content", job=job,
            env={"NO_PROXY": "", "no_proxy": "", **self._logins()}, seconds=local.fetch_timeout + 60,
            disk_bytes=2 * local.repository_bytes + (256 << 20),
        )  # fmt: skip

    def _logins(self) -> dict[str, str]:
        """For private repositories; the options of a sandbox are in no file once it has started, nor is its environment."""
        given = self.workshop.logins.for_sources(self.job.sources) if self.workshop.logins else ""
        return {"DOCKYARD_LOGINS": given} if given else {}

    def _uid(self) -> int | None:
        job = self._read("job.json")
        return job["uid"] if job else None

    def _left(self) -> float:
        """Seconds until the attempt has to be over, for a step that starts now."""
        job = self._read("job.json")
        return max(1.0, self.workshop.builds.timeout - (time.time() - job["at"])) if job else self.workshop.builds.timeout

    def _say(self, mark: str, phase: str, message: str) -> bool:
        return told.say(self.directory, self.log, mark, phase, message)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            value = json.loads((self.directory / name).read_text())
        except FileNotFoundError:
            return None
        assert isinstance(value, dict)
        return value

    def _write(self, name: str, value: object) -> None:
        """Write a file whole, unless it is there: what one owner has written holds for all."""
        draft = self.directory / f".{name}-{uuid.uuid4().hex}"
        try:
            draft.write_text(json.dumps(value))
            with suppress(FileExistsError):
                os.link(draft, self.directory / name)
        finally:
            draft.unlink(missing_ok=True)


def sweep(workshop: Workshop) -> None:
    """Remove what killed processes have left: attempts that should have ended long ago, halves of removals; blocking."""
    for top in (workshop.paths.builds, workshop.paths.images, workshop.paths.servers):
        for trash in top.glob(".removed-*"):
            trees.remove(trash)
    workshop.images.tidy()
    remove_left_groups()
    for directory in workshop.paths.builds.iterdir():
        with suppress(FileNotFoundError):  # another worker is at it
            age = time.time() - directory.stat().st_mtime
            if age > 2 * workshop.builds.timeout + 86400 and not detached.runs(directory, 0):
                forget(workshop, directory.name)


def forget(workshop: Workshop, handle: str, patience: float = _LAST) -> None:
    """Stop an attempt and remove what is left of it; blocking. A step that goes on is waited for, for so many seconds."""
    directory = workshop.paths.builds / handle
    with suppress(FileNotFoundError), alone(directory, patience):
        detached.stop_all(detached.runs(directory, 0))
        trees.discard(directory)
    with suppress(OSError):
        if workshop.paths.first_uid is not None:
            workshop.paths.give_back_uid(handle)
