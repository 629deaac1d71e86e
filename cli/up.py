"""`dockyard up`: opens the home, makes the table of parts, and hands it to the supervisor.

Everything that can be refused is refused before anything starts, in one sentence: settings, an address open to others
without limits, the home, a second instance, the ports.
"""

import asyncio
import compileall
import contextlib
import json
import sys
import time
from pathlib import Path

from cli.embedded import leftovers
from cli.embedded.account import service_account
from cli.embedded.home import Home, default_path, hold, open_home
from cli.embedded.parts import CHECKOUT, Plan, make_plan
from cli.embedded.places import check_port, status_of
from cli.embedded.reach import open_way
from cli.embedded.story import Story, fail
from cli.supervisor import Supervisor
from services.errors import DockyardError, Misconfigured
from services.settings import HubSettings, Settings, load
from services.settings.exposure import check_exposure, loopback
from services.tasks import end

OURS = ("services", "api", "worker", "launcher", "reaper", "cli", "deploy", "migrations")
EXAMPLE = "gh/binder-examples/requirements/HEAD"
HEALTH = 90.0  # seconds for /health to answer 200 once all parts run
REFUSED = 10.0  # seconds that a JupyterHub of one's own may refuse the token: one in trouble does so for a moment


def up(flags: dict[str, str], config: Path | None) -> int:
    """Run until told to stop; the exit status. Problems are told in one sentence, without a traceback."""
    began = time.monotonic()
    try:
        settings = load(config=config, flags=flags)
        check_exposure(settings.front, settings.limits)
        account = service_account()
        home = open_home(Path(settings.home.path).absolute() if settings.home.path else default_path(), account)
        with hold(home):
            _run(settings, home, flags, config, began)
    except DockyardError as error:
        fail(error.sentence)
        return 1
    except KeyboardInterrupt:
        return 1
    except OSError as error:
        fail(f"Dockyard stopped: {error}.")
        return 1
    return 0


def _run(settings: Settings, home: Home, flags: dict[str, str], config: Path | None, began: float) -> None:
    story = Story()
    pids = home.directory("run/pids", own=False)
    if found := leftovers.clean(pids):
        story.say("up", f"an earlier run was killed and left {', '.join(found)} behind; ended")
    check_port(settings.front.host, settings.front.port, "the front door")
    if not settings.hub.url:
        check_port("localhost", settings.front.port + 1, "the user servers' proxy, one above the front door")
    _compile()
    account = home.account
    if account is not None:
        shut = open_way([home.path, CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable)], account)
        if home.path in shut:
            raise Misconfigured(
                f"The account {account.name} cannot enter {home.path} (a directory above it is closed to others): "
                f"choose another home, such as /var/lib/dockyard, with --home or DOCKYARD_HOME."
            )
        if shut:
            story.say("up", f"the account {account.name} cannot read {shut[0]}: api and launcher run as root")
            account = None
    plan = make_plan(settings, home, account, flags, config)
    story.say("up", f"Dockyard starts; home {home.path}, logs {home.path / 'log'}")
    supervisor = Supervisor(plan.parts, home.path / "log", pids, story.say, story.hear, plan.forge)
    try:
        asyncio.run(supervisor.run(lambda: _greet(plan, began)))
    finally:
        with contextlib.suppress(OSError):
            (home.path / "up.json").unlink(missing_ok=True)
    story.say("up", "stopped")


async def _greet(plan: Plan, began: float) -> None:
    """Wait for health and tell the addresses."""
    front = plan.settings.front
    host = front.host if loopback(front.host) else "127.0.0.1"
    deadline, knowing = time.monotonic() + HEALTH, asyncio.create_task(_known(plan.settings.hub))
    while (status := await status_of(f"{front.base_url}health", host=host, port=front.port)) != 200:
        if time.monotonic() > deadline:
            path = plan.home.path / "log"
            raise Misconfigured(f"All parts run, but /health answers {status or 'nothing'}: see the logs in {path}.")
        if knowing.done():
            knowing.result()
        await asyncio.sleep(0.1)
    await end(knowing)
    address = f"http://{host}:{front.port}{front.base_url}"
    (plan.home.path / "up.json").write_text(json.dumps({"address": address}))
    token = plan.environ.get("DOCKYARD_AUTH_ADMIN_TOKEN", "")
    with contextlib.suppress(OSError):
        print(
            f"\n  Dockyard is up after {time.monotonic() - began:.1f} s:  {address}\n"
            f"  a link to try:                {address}v2/{EXAMPLE}\n"
            f"  operations:                   {address}ops#token={token}\n"
            f"  Ctrl-C stops everything.\n",
            flush=True,
        )


async def _known(settings: HubSettings) -> None:
    """Return when a JupyterHub of one's own knows us. `Misconfigured` where it goes on refusing the token."""
    if not settings.url:
        return
    from services.hub.client import Hub

    refused: float | None = None
    async with Hub(settings) as hub:
        while True:
            try:
                await hub.accepts()
                break
            except Misconfigured:
                refused = refused or time.monotonic()
                if time.monotonic() - refused > REFUSED:
                    raise
            except DockyardError:
                pass
            await asyncio.sleep(0.5)


def _compile() -> None:
    """Byte-compile our code: the account that runs it may not write beside it. Quick when nothing has changed."""
    for name in OURS:
        if (CHECKOUT / name).is_dir():
            compileall.compile_dir(CHECKOUT / name, quiet=2, workers=1)
