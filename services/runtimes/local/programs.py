"""Our own programs as sandboxes see them: one read-only directory, bound at `sandbox.PROGRAMS`.

A copy, because the checkout may lie where a sandbox's account cannot read, and because a running build keeps the
programs it started with when Dockyard is updated: the directory's name is the digest of its content. Two pure Python
packages that our steps use go along (packaging, ruamel.yaml); nothing else of our installation is visible in a
sandbox. """

import hashlib
import importlib.util
import os
import shutil
import uuid
from functools import cache
from pathlib import Path

from services.runtimes.local.sandbox import PROGRAMS, PYTHON

HERE = Path(__file__).parent
GIT_PROXY = f'#!/bin/sh\nexec {PYTHON} -I -S {PROGRAMS}/inside.py connect "$1" "$2"\n'


@cache
def install(directory: Path) -> Path:
    """The directory of the programs below `directory`, made if missing."""
    files = {name: (HERE / name).read_bytes() for name in ("inside.py", "serve.py")} | {"git-proxy": GIT_PROXY.encode()}
    packages = {"steps": HERE / "steps", "packaging": _package("packaging"), "ruamel/yaml": _package("ruamel.yaml")}
    for package, source in packages.items():
        for path in source.glob("*.py"):
            files[f"{package}/{path.name}"] = path.read_bytes()
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    target = directory / digest.hexdigest()[:16]
    if not target.exists():
        draft = directory / f".{uuid.uuid4().hex}"
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755 if name == "git-proxy" else 0o644)
        for parent, _, _ in os.walk(draft):
            os.chmod(parent, 0o755)  # noqa: S103
        try:
            draft.rename(target)
        except OSError:  # somebody else was faster
            shutil.rmtree(draft, ignore_errors=True)
    return target


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
