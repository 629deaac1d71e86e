"""One process of Dockyard in place of this one, as compose files and charts start it."""

import os
import sys
from pathlib import Path

from cli.commands import edge
from cli.embedded.home import default_path
from cli.embedded.node import proxy_command

CHECKOUT = Path(__file__).resolve().parents[2]


def become(name: str, words: list[str]) -> None:
    """Turn this process into the part."""
    argv = [sys.executable, "-P", "-m", "deploy.hub" if name == "hub" else name, *words]
    if name == "proxy":
        with edge.sentences():
            argv = [*proxy_command(default_path(), CHECKOUT, None), *words]
    os.execv(argv[0], argv)  # noqa: S606
