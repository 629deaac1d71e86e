"""The plan of an environment: everything that goes into it, found by reading the repository and running nothing of it.

Written to `plan.json` for the worker, which makes the key of it. What is in the plan is all that the environment is made of:
where `content` is false, the step that makes the environment does not even see the repository.
"""

import os
from pathlib import Path
from typing import Any

from . import said
from .conda import CondaFile, read_environment
from .detect import Detected, detect
from .pipfile import scan_pipfile
from .requirements import Line, Scan, scan_file, scan_line
from .said import Failure


def make(job: dict[str, Any], tree: Path = Path(said.HOME)) -> None:
    """Read the repository and write the plan. Raises `Failure`."""
    made = plan(job["pythons"], job["default_python"], tree)
    said.write("plan.json", {**made, "tree": job["tree"]})


def plan(pythons: list[str], default: tuple[str, str], tree: Path) -> dict[str, Any]:
    """The plan; `pythons` are the versions to be had, `default` the one for repositories that name none, with a sentence."""
    found = detect(tree)
    scan, conda = Scan(), None
    notices = list(found.notices)
    if found.kind == "conda":
        conda = _conda(tree, found, scan)
    elif found.kind == "pipfile":
        scan_pipfile(tree, found.binder_dir, scan)
    elif (tree / found.path("requirements.txt")).is_file():
        scan_file(tree, found.path("requirements.txt"), scan)
    if found.package:
        what = "setup.py" if (tree / "setup.py").exists() else "pyproject.toml"
        scan.reads.append(f"{what} is installed from the repository")
        scan.requirements.append(Line(said.HOME, what, 0))
        scan.builds = True
    if found.post_build:
        scan.reads.append(f"{found.post_build} runs in it")
    missing = ""
    try:
        python, sentence = _python(found, conda, pythons, default)
    except Failure as failure:
        if conda is None:
            raise
        python, sentence, missing = "", "", failure.reason  # conda may have that Python
    notices += [sentence] if sentence else []
    for script in filter(None, (found.post_build, found.start)):
        os.chmod(tree / script, 0o755)  # noqa: S103 - as repo2docker does
    return {
        "kind": found.kind, "python": python, "requirements": _lines(scan.requirements), "constraints": _lines(scan.constraints),
        "options": _lines(scan.options), "flags": scan.flags, "builds": scan.builds, "reads": scan.reads,
        "notices": notices + scan.notices, "pinned": bool(scan.requirements) and scan.pinned and not scan.builds,
        "post_build": found.post_build, "start": found.start, "conda": _conda_part(conda, missing),
    }  # fmt: skip


def _conda(tree: Path, found: Detected, scan: Scan) -> CondaFile:
    path = next(name for name in map(found.path, ("environment.yml", "environment.yaml")) if (tree / name).exists())
    conda = read_environment(tree, path)
    for line in conda.pip:
        scan_line(tree, line, path, 0, scan)
    return conda


def _conda_part(conda: CondaFile | None, missing: str) -> dict[str, Any] | None:
    if conda is None:
        return None
    mapped = [[text, conda.path, 0, name] for name, text in conda.requirements]
    return {
        "path": conda.path, "channels": conda.channels, "specs": conda.specs, "mapped": mapped, "absent": conda.absent,
        "python": conda.python, "missing": missing,
    }  # fmt: skip


def _lines(lines: list[Line]) -> list[list[str | int]]:
    return [[line.text, line.file, line.line, line.name] for line in lines]


def _python(found: Detected, conda: CondaFile | None, pythons: list[str], default: tuple[str, str]) -> tuple[str, str]:
    """The version of Python to use, in full, and a sentence where the repository does not ask for it by name."""
    wanted, where = (conda.python, conda.path) if conda else (found.python, found.python_file)
    if wanted:
        parts = wanted.split(".")
        matching = [version for version in pythons if version.split(".")[: len(parts)] == parts]
        if not matching:
            minors = sorted({".".join(version.split(".")[:2]) for version in pythons}, key=lambda one: int(one.split(".")[1]))
            raise Failure(
                f"{where} asks for Python {wanted}, which is not installed on this machine; it has {', '.join(minors)}.",
                "Ask for one of these, or ask the operator to install it.",
            )
        chosen = max(matching, key=_number)
        if found.requires_python and not _satisfies(chosen, found.requires_python):
            raise Failure(f"{where} asks for Python {wanted}, and pyproject.toml for {found.requires_python}: they exclude each other.")
        return chosen, ""
    if not default[0]:
        raise Failure(default[1])
    if found.requires_python and not _satisfies(default[0], found.requires_python):
        fitting = [version for version in pythons if _satisfies(version, found.requires_python)]
        if not fitting:
            raise Failure(f"pyproject.toml asks for Python {found.requires_python}, and none such is installed on this machine.")
        chosen = max(fitting, key=_number)
        return chosen, f"Using Python {chosen}, as pyproject.toml asks for {found.requires_python}."
    return default


def _satisfies(version: str, specifier: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(specifier).contains(version)
    except InvalidSpecifier as error:
        raise Failure(f"requires-python of pyproject.toml cannot be read: {specifier[:100]!r}.") from error


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
