"""An image of the runtime `local` with a real Jupyter environment, made without a build."""

import json
import subprocess
from pathlib import Path

from services.runtimes.local import interpreters
from services.runtimes.local.environments import EnvironmentStore
from services.runtimes.local.images import Images
from services.runtimes.local.paths import Paths
from services.runtimes.local.tools import uv_program
from services.settings import Settings

NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
START = '#!/bin/sh\nexport FROM_START="set by start"\nwhile [ -n "$HELD" ] && [ ! -e go ]; do sleep 0.05; done\nexec "$@"\n'
BROKEN = '#!/bin/sh\necho The data set is missing. >&2\nexit 3\n'
GREEDY = '#!/usr/bin/env python\nblocks = [b"x" * (1 << 20) for _ in range(1 << 14)]\n'


class NoEnvironment(Exception):
    """The environment could not be installed; the text says why."""


def make_images(settings: Settings) -> None:
    """Images plain:1, start:1 (with a start script, which waits for the file `go` where HELD is set), broken:1 and greedy:1
    (whose start scripts fail), of one environment.
    """
    paths = Paths.of(settings.local, settings.home).make()
    store = EnvironmentStore(paths, days=7)
    images = Images(paths, store)
    interpreter = interpreters.for_programs(interpreters.installed(()), paths.root / "tools")
    made = paths.root / "made"
    made.mkdir()
    uv = uv_program(paths.root / "tools")
    for command in (
        [uv, "venv", "-q", "--relocatable", "--python", interpreter.executable, made / "venv"],
        [uv, "pip", "install", "-q", "--compile-bytecode", "--link-mode=copy", "-p", made / "venv/bin/python", *settings.local.jupyter],
    ):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoEnvironment(done.stderr.strip().splitlines()[-1])
    environment = store.add("a" * 40, made, interpreter, pinned=False, name="first")
    for name, script in (("plain", ""), ("start", START), ("broken", BROKEN), ("greedy", GREEDY)):
        content = paths.root / "content"
        (content / "binder").mkdir(parents=True)
        (content / "index.ipynb").write_text(json.dumps(NOTEBOOK))
        if script:
            (content / "binder/start").write_text(script)
            (content / "binder/start").chmod(0o755)
        facts = {"start": "binder/start" if script else "", "commit": "1" * 40, "repo_url": "https://example.org/repo"}
        images.add(f"{name}:1", content, environment, facts, name="first")


def scratch(path: Path) -> Path:
    """A directory that the accounts of servers may pass through."""
    path.chmod(0o755)
    return path
