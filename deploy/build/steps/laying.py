"""What a link says about a checkout beside its commit: one directory of it, or another repository's environment under it.

    narrow   a checkout becomes one of its directories, as repo2docker's --subdir has it: nothing else is in the image
    lay      an environment's checkout is laid below the content's: the environment's build configuration alone counts,
             of everything else the content's own file is kept

Both work in place and remember nothing. Shared by all runtimes (`services/runtimes/local/steps` has a link to this file),
so it stands on the standard library and on coreutils, which never follow a symbolic link inside of a tree.
"""

import os
import subprocess
import uuid
from pathlib import Path

DIRECTORIES = ("binder", ".binder")
# Read at the root of a repository whatever else it has.
ALWAYS = (*DIRECTORIES, ".dockerignore", ".containerignore")
# Read at the root where there is no binder directory; repo2docker 2026.4.0 and both of our own ways to build.
ROOT = (
    "Dockerfile", "environment.yml", "environment.yaml", "requirements.txt", "requirements3.txt", "Pipfile", "Pipfile.lock",
    "pyproject.toml", "setup.py", "setup.cfg", "apt.txt", "runtime.txt", "postBuild", "start", "install.R", "DESCRIPTION",
    "default.nix", "Project.toml", "JuliaProject.toml", "Manifest.toml", "REQUIRE",
)


class Unfit(Exception):
    """It cannot be done; the text is for the user."""


def narrow(root: Path, subdir: str) -> None:
    """Make a directory of the checkout all that there is, without `.git`. Raises `Unfit`."""
    parts = subdir.split("/")
    if not all(parts) or {".", "..", ".git"} & set(parts) or subdir.startswith("/"):
        raise Unfit(f'"{subdir}" is no directory in the repository.')
    place = root
    for part in parts:
        place = place / part
        if not _is_directory(place):
            raise Unfit(f'The repository has no directory "{subdir}" at this commit.')
    aside = root / f".{uuid.uuid4().hex}"
    place.rename(aside)
    _remove(*(root / name for name in os.listdir(root) if name != aside.name))
    for name in os.listdir(aside):
        (aside / name).rename(root / name)
    aside.rmdir()


def lay(content: Path, environment: Path) -> list[str]:
    """Lay an environment's checkout, on the same file system, below the content's; it is used up.

    Returns the names of what the content has at its root and would have been read there; they are left out.
    """
    names = ALWAYS if any(_is_directory(environment / name) for name in DIRECTORIES) else (*ALWAYS, *ROOT)
    left = [name for name in names if os.path.lexists(content / name)]
    _remove(*(content / name for name in left), environment / ".git")
    below = [""]
    while below:
        here = below.pop()
        with os.scandir(environment / here) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            path = f"{here}/{entry.name}".lstrip("/")
            if not os.path.lexists(content / path):
                (environment / path).rename(content / path)
            elif entry.is_dir(follow_symlinks=False) and _is_directory(content / path):
                below.append(path)
    _remove(environment)
    return left


def told(left: list[str]) -> str:
    """A line of the log about what `lay` has left out."""
    return f"The environment comes from its own repository: {', '.join(left)} of the content {'is' if len(left) == 1 else 'are'} left out."


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(*paths: Path) -> None:
    if paths:
        subprocess.run(["rm", "-rf", "--", *map(str, paths)], check=True, stdin=subprocess.DEVNULL, cwd="/")
