"""What kind of repository this is, by repo2docker's order and meaning.

repo2docker's own detection lives in classes that read the current directory, cache on it and take half a second to import, in
every build; so the few rules are written here once more, as a pure function of a tree, and a test holds them against the
installed repo2docker over many repositories. Order and rules: `Repo2Docker.buildpacks` and the `detect` methods of
jupyter-repo2docker 2026.4.0.
"""

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .said import Failure

CONTAINERS = "Only the runtimes docker and kubernetes can do that (setting runtime.name)."


@dataclass(frozen=True, slots=True)
class Detected:
    """The kind of a repository and where its configuration stands."""

    kind: str  # conda, pipfile or python (also when there is nothing at all)
    binder_dir: str  # "binder", ".binder" or "" for the root
    package: bool  # the repository itself is installed: setup.py, or a pyproject.toml with project and build-system
    python: str  # the version asked for, such as "3.11", or ""
    python_file: str  # the file that asks for it
    requires_python: str  # requires-python of pyproject.toml, or ""
    post_build: str  # path of the script, or ""
    start: str
    notices: tuple[str, ...] = ()

    def path(self, name: str) -> str:
        """The path of a configuration file from the root of the repository."""
        return f"{self.binder_dir}/{name}" if self.binder_dir else name


def detect(tree: Path) -> Detected:
    """Look at a repository. Raises `Failure` for what this runtime cannot build and for what repo2docker calls an error."""
    binder_dir = _binder_dir(tree)

    def path(name: str) -> Path:
        return tree / binder_dir / name

    def exists(name: str) -> bool:
        return _inside(tree, path(name)) and path(name).exists()

    name, version, date = _runtime(tree, path("runtime.txt"))
    shown = f"{binder_dir}/" if binder_dir else ""
    if exists("Dockerfile"):
        raise Failure(f"{shown}Dockerfile: the runtime local cannot build images from a Dockerfile.", CONTAINERS)
    for julia in ("Project.toml", "JuliaProject.toml", "REQUIRE"):
        if exists(julia):
            raise Failure(f"{shown}{julia}: the runtime local has no Julia.", CONTAINERS)
    if exists("default.nix"):
        raise Failure(f"{shown}default.nix: the runtime local has no Nix.", CONTAINERS)
    if name == "r" and date:
        raise Failure(f"{shown}runtime.txt asks for R, which the runtime local does not have.", CONTAINERS)
    if not binder_dir and (tree / "DESCRIPTION").exists():
        raise Failure("DESCRIPTION: an R package, and the runtime local has no R.", CONTAINERS)
    if exists("apt.txt") and (packages := _apt(path("apt.txt"))):
        raise Failure(
            f"{shown}apt.txt asks for system packages ({', '.join(packages[:5])}{', …' if len(packages) > 5 else ''}), which the "
            f"runtime local cannot install.", CONTAINERS,
        )  # fmt: skip
    pyproject = _toml(tree / "pyproject.toml") if not binder_dir and _inside(tree, tree / "pyproject.toml") else {}
    package = not binder_dir and ((tree / "setup.py").exists() or {"project", "build-system"} <= set(pyproject))
    kind, python, python_file = "python", "", ""
    if exists("environment.yml") or exists("environment.yaml"):
        kind, package = "conda", False
    elif name in (None, "python") and (exists("Pipfile") or exists("Pipfile.lock")):
        kind, package = "pipfile", False
        python, python_file = _pipfile_python(path("Pipfile.lock"), path("Pipfile"))
    elif name == "python" and version:
        python, python_file = version, f"{shown}runtime.txt"
    ignored = (f"{shown}runtime.txt asks for {name} without a date, which repo2docker leaves out.",) if name not in (None, "python") else ()
    requires = pyproject.get("project", {}).get("requires-python", "") if kind == "python" else ""
    return Detected(
        kind, binder_dir, package, "" if python.isdigit() else python, python_file, str(requires),
        f"{shown}postBuild" if exists("postBuild") else "", f"{shown}start" if exists("start") else "",
        ignored,
    )  # fmt: skip


def _binder_dir(tree: Path) -> str:
    both = [name for name in (".binder", "binder") if (tree / name).is_dir() and _inside(tree, tree / name)]
    if len(both) == 2:
        raise Failure(
            "The repository contains both a 'binder' and a '.binder' directory. However they are exclusive.",
            "Remove one of them.",
        )
    return both[0] if both else ""


def _runtime(tree: Path, path: Path) -> tuple[str | None, str | None, str | None]:
    """Name, version and date of runtime.txt: name-version, name-version-yyyy-mm-dd or name-yyyy-mm-dd."""
    if not _inside(tree, path) or not path.is_file():
        return None, None, None
    text = path.read_text(errors="replace")[:1000].strip()
    parts = text.split("-")
    invalid = Failure(f"Invalid {path.relative_to(tree)}: {text[:80]!r}.", "It says for example python-3.11.")
    if len(parts) not in (2, 4, 5) or not all(parts):
        raise invalid
    version = parts[1] if len(parts) in (2, 5) else None
    date = "-".join(parts[-3:]) if len(parts) in (4, 5) else None
    if date and not re.fullmatch(r"\d\d\d\d-\d\d-\d\d", date):
        raise invalid
    if parts[0] == "python" and not re.fullmatch(r"\d+(\.\d+)*", version or "3"):
        raise invalid
    return parts[0], version, date


def _apt(path: Path) -> list[str]:
    lines = path.read_text(errors="replace")[:100_000].splitlines()
    return [package for line in lines if (package := line.partition("#")[0].strip())]


def _toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise Failure(f"{path.name} is not valid TOML: {str(error)[:200]}.") from error


def _pipfile_python(lock: Path, pipfile: Path) -> tuple[str, str]:
    """The version that Pipfile.lock or Pipfile requires, as major.minor."""
    sources: list[tuple[str, Any]] = []
    if lock.is_file():
        try:
            sources.append((lock.name, json.loads(lock.read_text()).get("_meta", {}).get("requires", {})))
        except (ValueError, AttributeError) as error:
            raise Failure(f"{lock.name} is not valid JSON.") from error
    if pipfile.is_file():
        sources.append((pipfile.name, _toml(pipfile).get("requires", {})))
    for name, requires in sources:
        for key in ("python_full_version", "python_version"):
            match = re.match(r"\d+(\.\d+)*", str(requires.get(key) or ""))
            if match:
                return ".".join(match[0].split(".")[:2]), name
    return "", ""


def _inside(tree: Path, path: Path) -> bool:
    """Whether a path, its symbolic links followed, stays in the repository. What leads out of it is as good as absent."""
    real, root = os.path.realpath(path), os.path.realpath(tree)
    return real == root or real.startswith(root + "/")
