"""`dockyard sweep`: the reaper's sweeps, now, for the settings at hand or for the embedded home that runs."""

import os
import sys
from pathlib import Path

from cli.commands import edge
from cli.embedded.account import service_account
from cli.embedded.home import Home, default_path
from cli.embedded.parts import CHECKOUT, make_plan
from services.errors import Misconfigured
from services.settings import load


def sweep(names: list[str], home: Path | None, *, dry: bool, config: Path | None, flags: dict[str, str]) -> None:
    """Turn this process into the one that sweeps."""
    with edge.sentences():
        settings = load(config=config, flags=flags)
        environ = dict(os.environ)
        if not settings.database.url.get_secret_value():
            path = (home or (Path(settings.home.path) if settings.home.path else default_path())).absolute()
            if not os.access(path / "secret/postgres", os.R_OK):
                raise Misconfigured(f"{path} is not the home of an embedded Dockyard that you may look into: name one with --home.")
            opened = Home(path, (path / "run").resolve(), service_account())
            environ = make_plan(settings, opened, opened.account, flags, config).environ
            if not (path / "up.json").exists():
                raise Misconfigured(f"No Dockyard runs on {path}: there is nothing to sweep before ./dockyard up.")
        environ |= {"PYTHONPATH": str(CHECKOUT), "DOCKYARD_LOG_LEVEL": "warning", "DOCKYARD_LOG_FORMAT": "text"}
        words = [*(["--dry-run"] if dry else []), *names]
        os.execve(sys.executable, [sys.executable, "-P", "-m", "reaper.once", *words], environ)  # noqa: S606
