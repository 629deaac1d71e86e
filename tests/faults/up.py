"""`python -m tests.faults.up`: what `./dockyard up` starts, with doors, and a second worker and launcher.

The home and the port come from the environment, as do all settings. `DOCKYARD_FAULTS_DOORS` names a directory in which the
driver's proxies listen (`.s.PGSQL.5432`, `valkey.sock`, `hub.sock`): api, worker, launcher and reaper are sent there instead
of to Postgres, Valkey and hub. There are two workers and two launchers, because take-over is what is tried.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cli.embedded import leftovers
from cli.embedded.account import service_account
from cli.embedded.child import Command
from cli.embedded.home import Home, hold, open_home
from cli.embedded.parts import CHECKOUT, Plan, make_plan
from cli.embedded.places import socket_url
from cli.embedded.reach import open_way
from cli.embedded.story import Story
from cli.supervisor import Part, Supervisor
from services.settings import load

DOORS = "DOCKYARD_FAULTS_DOORS"
OURS = ("api", "worker", "launcher", "reaper")
TWICE = ("worker", "launcher")


def doors(plan: Plan, home: Home, directory: Path) -> dict[str, str]:
    """The addresses that lead through the driver's proxies."""
    return {
        "DOCKYARD_DATABASE_URL": plan.environ["DOCKYARD_DATABASE_URL"].replace(str(home.directory("run/pg")), str(directory)),
        "DOCKYARD_REDIS_URL": f"unix://{directory}/valkey.sock?db=0",
        "DOCKYARD_HUB_URL": f"{socket_url(directory / 'hub.sock')}/hub/api/",
    }


def through(command: Callable[[], Command], environ: dict[str, str]) -> Callable[[], Command]:
    """The same command, with these variables."""
    def made() -> Command:
        found = command()
        return replace(found, environ={**found.environ, **environ})
    return made


def parts(plan: Plan, environ: dict[str, str]) -> list[Part]:
    """The table of `up`, changed."""
    found = []
    for part in plan.parts:
        ours = part.name in OURS
        changed = replace(part, command=through(part.command, environ)) if ours else part
        found.append(changed)
        if part.name in TWICE:
            found.append(replace(changed, name=f"{part.name}2"))
    for n, part in enumerate(found):
        if set(TWICE) & set(part.outlives):
            found[n] = replace(part, outlives=(*part.outlives, *(f"{name}2" for name in TWICE)))
    return found


def main() -> None:
    """Run until told to stop."""
    directory = Path(os.environ.pop(DOORS))
    settings, account = load(), service_account()
    home = open_home(Path(settings.home.path), account)
    story = Story()
    with hold(home):
        pids = home.directory("run/pids", own=False)
        leftovers.clean(pids)
        if account is not None and open_way(
                [home.path, CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable)], account):
            account = None
        plan = make_plan(settings, home, account, {}, None)
        table = parts(plan, doors(plan, home, directory))
        asyncio.run(Supervisor(table, home.path / "log", pids, story.say, story.hear, plan.forge).run())
        story.say("up", "stopped")


if __name__ == "__main__":
    main()
