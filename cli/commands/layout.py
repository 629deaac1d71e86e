"""The rules of the house that no linter knows: length of files, docstrings, settings, migrations, lock files.

Each check takes the root of the project and returns its complaints, a line each.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

LINES = 300
PACKAGES = ("services", "api", "worker", "launcher", "reaper", "migrations", "deploy", "cli", "dockyard_client", "bench", "tests")


def sources(root: Path) -> Iterator[Path]:
    """All Python files of ours: those that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py"],
        cwd=root, capture_output=True, text=True, check=False,
    )
    if listed.returncode == 0:
        names = [root / name for name in listed.stdout.split("\0") if name]
    else:
        names = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    yield from sorted(path for path in names if path.exists())


def short_files(root: Path) -> list[str]:
    """A file of more than 300 lines is two concepts."""
    found = []
    for path in sources(root):
        count = len(path.read_text().splitlines())
        if count > LINES:
            found.append(f"{path.relative_to(root)} has {count} lines; {LINES} are allowed.")
    return found


def docstrings(root: Path) -> list[str]:
    """Every module says first what it is for; empty packages of tests need not."""
    found = []
    for path in sources(root):
        text = path.read_text()
        if "tests" in path.relative_to(root).parts and (path.name == "__init__.py" or path.stem in ("conftest",)):
            continue
        docstring = ast.get_docstring(ast.parse(text)) or ""
        if len(docstring.split()) < 3:
            found.append(f"{path.relative_to(root)} does not say what it is for.")
    return found


def documented_settings(_: Path) -> list[str]:
    """Every group and every setting has a description."""
    from services.settings import ALL_GROUPS

    found = []
    for cls in ALL_GROUPS:
        if not (cls.__doc__ or "").strip():
            found.append(f"The group {cls.group} has no docstring.")
        found += [f"{cls.group}.{key} has no description." for key, field in cls.model_fields.items() if not field.description]
    return found


def current_reference(root: Path) -> list[str]:
    """docs/settings.md is what the code says."""
    from cli.commands.config import reference

    path = root / "docs/settings.md"
    if path.exists() and path.read_text() == reference():
        return []
    return ["docs/settings.md is out of date: run ./dockyard config --reference > docs/settings.md"]


def one_head(_: Path) -> list[str]:
    """Migrations are one line, without branches."""
    from services.db.migrate import heads

    found = heads()
    return [] if len(found) == 1 else [f"There are {len(found)} newest migrations: {', '.join(sorted(found))}."]


def clean_locks(root: Path) -> list[str]:
    """Lock files hold names, versions and hashes, and nothing of the machine they were made on."""
    found = []
    for path in sorted(root.glob("requirements*.txt")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            pinned = re.fullmatch(r"[a-z0-9][a-z0-9._-]*==\S+( ; .+)? \\", line)
            if not pinned and not re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line):
                found.append(f"{path.name}:{number}: {line.strip()[:80]}")
    package = (root / "deploy/hub/proxy/package-lock.json").read_text()
    if '"resolved"' in package:
        found.append("deploy/hub/proxy/package-lock.json names addresses: make it with npm's omit-lockfile-registry-resolved.")
    return found


def complete_lock(root: Path) -> list[str]:
    """Whatever pyproject.toml asks for is locked."""
    wanted = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (root / "requirements.txt").read_text(), re.MULTILINE))
    names = [re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", line, maxsplit=1)[0]).lower() for line in wanted]  # PEP 503
    return [f"requirements.txt does not pin {name}: run ./dockyard lock" for name in names if name not in pinned]


def entry_points(root: Path) -> list[str]:
    """What is run by its name can be run."""
    scripts = [root / "dockyard", root / ".ci/run"]
    return [f"{path.relative_to(root)} is not executable." for path in scripts if not path.stat().st_mode & 0o111]


CHECKS: Mapping[str, Callable[[Path], list[str]]] = {
    f"layout: files of at most {LINES} lines": short_files,
    "layout: modules say what they are for": docstrings,
    "layout: settings are documented": documented_settings,
    "layout: docs/settings.md is current": current_reference,
    "layout: one newest migration": one_head,
    "layout: lock files are clean": clean_locks,
    "layout: all dependencies are locked": complete_lock,
    "layout: scripts can be run": entry_points,
}
