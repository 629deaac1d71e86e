"""Making one environment: its packages, postBuild, bytecode, and its way into the store.

Every step is a run of its own, so `look` can be called by whoever owns the build now: it finds what has ended, starts what comes
next, and says when the environment is complete. Who may write what:

    conda      our own account for installing; py-rattler alone runs, for an environment.yml where conda answers
    wheels     our own account for installing; uv alone runs, with the cache that all builds share
    build      the build's account; uv and what packages run to be built, with a cache of this build alone
    post       the build's account; postBuild, with the home and the environment
    compile    nothing in reach but the environment, no network

An environment begins as a copy of the one that holds Jupyter alone (its files are hard links where no repository's code will
ever be able to write them), so only what a repository adds is installed and compiled.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.egress import Purpose
from services.runtimes.base import Exit
from services.runtimes.local import trees, words
from services.runtimes.local.environments import Environment
from services.runtimes.local.homes import python_env
from services.runtimes.local.interpreters import Interpreter
from services.runtimes.local.recipe import Recipe
from services.runtimes.local.sandbox import PROGRAMS, Bind
from services.runtimes.local.surroundings import local_directories, without_credentials
from services.runtimes.local.workshop import Step, Workshop, result

UV, CACHE = "/run/uv", "/run/cache"
TRUSTED = frozenset({"conda-forge", "defaults", "nodefaults", "bioconda", "pytorch", "nvidia"})


@dataclass(frozen=True, slots=True)
class Making:
    """The making of one environment in one directory."""

    workshop: Workshop
    directory: Path
    recipe: Recipe
    interpreter: Interpreter
    log: Path
    name: str  # of the generation
    uid: int | None  # the build's account
    base: Environment | None = None  # what the environment begins as
    content: Path | None = None  # the repository; needed if the recipe reads it
    seconds: float = 0.0  # left for every step
    cached: bool = True  # whether packages may come from what earlier builds have downloaded

    @property
    def key(self) -> str:
        """The key of the environment."""
        return self.recipe.key(self.workshop.local.jupyter)

    def look(self) -> Environment | Exit | None:
        """Bring the making on; the environment, why there is none, or None while it goes on. Blocking."""
        made = self.workshop.environments.read(self.workshop.paths.environments / self.key / self.name)
        if made is None:
            end = self._steps()
            if end is None or not end.ok:
                return end
        return self._take_in()

    def _steps(self) -> Exit | None:
        env, uid = self._place("env"), self.workshop.paths.store_uid
        if self.recipe.with_conda and not self._place("env-built").exists():
            self._prepare(env, uid, linked=False)
            end = self._installed(self._conda(env, uid))
            if end is None or not end.ok:
                return end
        if not self.recipe.builds and not self.recipe.with_conda:
            self._prepare(env, uid, linked=not self.recipe.post_build)
            end = self._installed(self._install("wheels", env, uid))
            if end is None or (not end.ok and "build" not in end.facts):
                return end
        if self._builds():
            env, uid = self._place("env-built"), self.uid
            self._prepare(env, uid, linked=False)
            end = self._installed(self._install("build", env, uid))
            if end is None or not end.ok:
                return end
        if self.recipe.post_build:
            end = self._post_build(env, uid)
            uid = self.uid
            if end is None or not end.ok:
                return end
        return self._compile(env, uid)

    def _builds(self) -> bool:
        """Whether packages are installed in the second way; known for good once the wheels have been tried.

        Always with conda: there already the interpreter is a channel's, and uv runs it.
        """
        return self.recipe.builds or self.recipe.with_conda or bool((result(self.directory, "wheels") or {}).get("build"))

    def _place(self, name: str) -> Path:
        return self.directory / name

    def _prepare(self, env: Path, uid: int | None, *, linked: bool) -> None:
        """Make the directory of the environment, with what is in the base."""
        if env.exists():
            return
        if self.recipe.with_conda and env.name == "env-built":
            trees.own(self._place("env") / "venv", uid)
            self._place("env").rename(env)
            return
        copied = self.base is not None and not linked
        draft = env.with_name(f".{env.name}" + (f"-{self.base.directory.name}" if self.base is not None else ""))
        if not copied:
            trees.discard(draft)
        draft.mkdir(mode=0o755, exist_ok=copied)
        venv = self.workshop.paths.directory(draft / "venv", uid)
        if self.base is not None and linked:
            trees.link(self.base.venv, venv, uid)
        elif self.base is not None:
            trees.complete(self.base.venv, venv, uid)
            trees.unfreeze(venv, uid)
        draft.rename(env)

    def _install(self, name: str, env: Path, uid: int | None) -> Step:
        workshop, wheels = self.workshop, name == "wheels"
        index = workshop.surroundings.index if wheels else without_credentials(workshop.surroundings.index)
        cache = workshop.paths.cache if wheels else workshop.paths.directory(self.directory / "cache", uid)
        binds = [Bind(str(workshop.surroundings.uv), UV), Bind(str(cache), CACHE, writable=True)]
        binds += [Bind(path, path) for path in local_directories(index)]
        job = {
            "wheels": wheels, "interpreter": self.interpreter.executable, "jupyter": workshop.local.jupyter,
            "conda": self.recipe.with_conda,
            "plan": {name: getattr(self.recipe, name) for name in ("requirements", "constraints", "options", "flags")},
        }
        env_vars = {**index, "UV_CACHE_DIR": CACHE, "UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "copy", "UV_NO_CONFIG": "1"}
        env_vars |= {} if self.cached else {"UV_NO_CACHE": "1"}
        return Step(
            name, Purpose.BUILD, ("step", "install"), uid, self._home(name), env / "venv", tuple(binds), env_vars, job,
            self.interpreter, seconds=self.seconds,
        )  # fmt: skip

    def _conda(self, env: Path, uid: int | None) -> Step:
        conda, workshop = self.recipe.conda, self.workshop
        assert conda is not None
        # Packages are known in the cache by name and build: only channels that we trust to mean the same share one.
        shared = set(conda["channels"]) <= TRUSTED
        cache = workshop.paths.directory(workshop.paths.conda_cache if shared else self.directory / "conda-cache", uid)
        job = {
            "path": conda["path"], "channels": list(conda["channels"]), "specs": list(conda["specs"]), "python": self.recipe.python,
            "alias": workshop.local.conda,
        }  # fmt: skip
        binds = (Bind(str(workshop.rattler), "/run/rattler/rattler"), Bind(str(cache), "/run/conda", writable=True))
        return Step(
            "conda", Purpose.BUILD, ("step", "conda_install"), uid, self.directory / "conda.home", env / "venv", binds, {}, job,
            seconds=self.seconds,
        )  # fmt: skip

    def _home(self, name: str) -> Path:
        """The repository where it is read, otherwise nothing."""
        if name != "wheels" and self.recipe.content and self.content is not None:
            return self.content
        return self.directory / f"{name}.home"

    def _installed(self, step: Step) -> Exit | None:
        end = self.workshop.run(self.directory, step, self.log)
        if end is None:
            return None
        found = result(self.directory, step.name)
        if end.reason or found is None:
            return words.ended(end, "Installing packages", self.workshop.limits(step), last_line(self.log))
        if found.get("ok") is True and end.code == 0:
            return Exit(ok=True)
        return Exit(
            ok=False, reason=str(found.get("reason", ""))[:2000], hint=str(found.get("hint", ""))[:1000],
            retryable=bool(found.get("retryable")), facts={"build": "yes"} if found.get("build") else {},
        )  # fmt: skip

    def _post_build(self, env: Path, owner: int | None) -> Exit | None:
        assert self.content is not None
        if owner != self.uid and not (self.directory / "post").exists():
            trees.own(env / "venv", self.uid)
        variables: Mapping[str, str] = {**python_env(), **without_credentials(self.workshop.surroundings.index)}
        step = Step(
            "post", Purpose.BUILD, ("exec", "/bin/sh", "-c", f"./{_quoted(self.recipe.post_build)}"), self.uid, self.content,
            env / "venv", (), variables, None, self.interpreter, seconds=self.seconds,
        )  # fmt: skip
        end = self.workshop.run(self.directory, step, self.log)
        if end is None:
            return None
        if end.code == 0 and not end.reason:
            return Exit(ok=True)
        exit_ = words.ended(end, "postBuild", self.workshop.limits(step), last_line(self.log))
        return exit_ if exit_.hint else Exit(ok=False, reason=exit_.reason, hint="The log shows what it wrote.", retryable=exit_.retryable)

    def _compile(self, env: Path, uid: int | None) -> Exit | None:
        command = ("exec", self.interpreter.executable, "-I", "-S", f"{PROGRAMS}/steps/bytecode.py")
        step = Step(
            "compile", Purpose.BUILD, command, uid, self.directory / "compile.home", env / "venv", interpreter=self.interpreter,
            online=False, seconds=self.seconds,
        )  # fmt: skip
        end = self.workshop.run(self.directory, step, self.log)
        if end is None:
            return None
        if end.reason in ("stopped", "full", "lost", "sandbox", "disk"):
            return words.ended(end, "Compiling", self.workshop.limits(step), last_line(self.log))
        return Exit(ok=True)  # what could not be compiled works all the same

    def _take_in(self) -> Environment:
        """Close the environment to all writers and move it into the store."""
        env = self._place("env-built" if self._builds() else "env")
        if env.exists():
            trees.settle(env / "venv", frozen=True)
            if self.recipe.content and self.content is not None and self.content.exists():
                set_git_aside(self.content)
                trees.settle(self.content)
                self.content.rename(env / "home")
        return self.workshop.environments.add(self.key, env, self.interpreter, pinned=self.recipe.pinned, name=self.name)


def set_git_aside(content: Path) -> None:
    """Move the .git of a checkout beside it, where the environment's own content begins."""
    git, aside = content / ".git", content.with_name("git")
    if os.path.lexists(git) and not os.path.lexists(aside):
        git.rename(aside)


def last_line(log: Path) -> str:
    """The last line of a log, for a sentence."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"
