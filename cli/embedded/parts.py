"""The table of `up`: every part, what it stands on, whom it runs as, how it is known to be ready.

    postgres ─┬─ migrations ─┬─ api
    forge ────┼─ egress      ├─ worker (egress, valkey)
    valkey    │              ├─ launcher (valkey, hub)
    proxy ── hub             └─ reaper (valkey, hub)

What the settings name an address for is not started here. Secrets go by environment, never by command line. As root the
parts that strangers can talk to run as the account; worker, reaper and hub keep root, to give every build and server a
user id of its own and to end them.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cli.embedded.account import Account
from cli.embedded.child import Command
from cli.embedded.forge import Forge
from cli.embedded.home import Home
from cli.embedded.node import proxy_command
from cli.embedded.places import accepts, socket_url, status_of
from cli.embedded.postgres import Postgres
from cli.embedded.valkey import Valkey
from cli.supervisor import Part
from services.errors import DockyardError
from services.settings import ALL_GROUPS, Settings
from services.settings.base import file_content, is_secret, variable
from services.settings.exposure import loopback

CHECKOUT = Path(__file__).resolve().parents[2]
IMPORTED = (
    "api.main", "worker.main", "launcher.main", "reaper.main", "services.runtimes.local", "services.egress",
    "services.db.migrate", "cli.commands.database",
)
SECRETS = frozenset(
    variable(group.group, key) for group in ALL_GROUPS for key, field in group.model_fields.items() if is_secret(field.annotation)
)
DRAIN = 5.0  # seconds that stopping parts work on; the whole has to be gone after ten or so


@dataclass(slots=True)
class Plan:
    """What `up` starts, and the environment that all parts get."""

    settings: Settings
    home: Home
    account: Account | None  # for the parts without privileges; None: as we are
    forge: Forge  # of the parts that it can fork
    environ: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def tell(self, group: str, key: str, value: str) -> None:
        """Give the parts a setting, unless the user has set it."""
        if self.settings.origins[f"{group}.{key}"].text.startswith("default"):
            self.environ[variable(group, key)] = value

    def without_secrets(self) -> dict[str, str]:
        """The environment for parts that need none of the secrets in it, and that strangers talk to."""
        return {name: value for name, value in self.environ.items() if name not in SECRETS}

    def python(
        self, *words: str, privileged: bool = False, forked: bool = True, secrets: bool = True, **extra: str,
    ) -> Callable[[], Command]:
        """A command that runs a module of ours with this interpreter."""
        account = None if privileged else self.account
        argv = (sys.executable, "-P", "-m", *words)
        if account is not None:  # the caller's home is closed to it, and some libraries look there
            extra["HOME"] = str(self.home.path)
        return lambda: Command(
            argv, (self.environ if secrets else self.without_secrets()) | extra, account, cwd=self.home.path,
            module=words if forked else (),
        )


def make_plan(
    settings: Settings, home: Home, account: Account | None, flags: dict[str, str], config: Path | None = None,
) -> Plan:
    """The table for these settings; nothing is started yet. `account` is None when it cannot reach our code."""
    forge = Forge(home.directory("run/forge", own=False) / "forge.sock")
    plan = Plan(settings, home, account, forge, _environment(home, settings, flags))
    if config:
        plan.environ["DOCKYARD_CONFIG"] = str(config.absolute())
    plan.tell("front", "port", str(settings.front.port))
    plan.tell("home", "path", str(home.path))
    plan.tell("home", "secret", home.secret("key"))
    plan.tell("auth", "admin_token", home.secret("admin-token"))
    plan.tell("egress", "private", "true")
    plan.tell("leases", "drain", str(DRAIN))
    plan.tell("log", "format", "json")
    plan.tell("observe", "metrics_address", f"unix:{home.directory('run/metrics', 0o700)}")
    _postgres(plan)
    _valkey(plan)
    plan.parts.append(Part("forge", lambda: _forge(plan), ready=plan.forge.connect))
    for name in ("local", "hub"):
        home.directory(name, 0o711 if name == "local" else 0o700, own=False)
    if settings.runtime.name == "local":
        plan.parts.append(_egress(plan))
    _hub(plan)
    front = settings.front
    says = "process_started" if settings.log.level in ("debug", "info") else ""
    host = front.host if loopback(front.host) else "127.0.0.1"
    plan.parts += [
        Part(
            "api", plan.python("api"), after=("migrations",),
            ready=lambda: _answers(status_of(f"{front.base_url}livez", host=host, port=front.port)),
        ),
        Part("worker", plan.python("worker", privileged=True), after=("migrations", "egress", "valkey"), says=says),
        Part("launcher", plan.python("launcher"), after=("migrations", "valkey", "hub"), says=says),
        Part("reaper", plan.python("reaper", privileged=True), after=("migrations", "valkey", "hub"), says=says),
    ]
    return plan


async def _answers(status: Awaitable[int]) -> bool:
    return await status == 200


def _environment(home: Home, settings: Settings, flags: dict[str, str]) -> dict[str, str]:
    """The parts' environment: the caller's, with the flags as variables and our own interpreter first in the path."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    for name in SECRETS & {key.removesuffix("_FILE") for key in environ}:
        # A file of secrets may be closed to the accounts that the parts run as.
        file = environ.pop(f"{name}_FILE", "")
        if file and name not in environ:
            environ[name] = file_content(name, Path(file))
    environ |= {variable(*flag.split(".", 1)): value for flag, value in flags.items()}
    environ |= {
        "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", "DOCKYARD_HOME": str(home.path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    ports = [settings.front.port, settings.front.port + 1]
    refused = [*settings.egress.refused, *(f"localhost:{port}" for port in ports)]
    environ[variable("egress", "refused")] = json.dumps(refused)
    return environ


def _forge(plan: Plan) -> Command:
    """The forge, with what our parts import."""
    argv = (sys.executable, "-P", "-m", "cli.embedded.forged", str(plan.forge.path), *IMPORTED)
    # Its forks show its environment in /proc, whatever their own is.
    return Command(argv, plan.without_secrets(), cwd=plan.home.path, grace=1.0)


def _postgres(plan: Plan) -> None:
    migrations = plan.python("cli", "db", "upgrade")
    if plan.settings.database.url.get_secret_value():
        plan.parts.append(Part("migrations", migrations, after=("forge",), once=True))
        return
    home, account = plan.home, plan.home.account
    server = Postgres(home.path / "pg", home.directory("run/pg"), home.secret("postgres"), account)
    plan.tell("database", "url", server.url())

    async def settle() -> None:
        await asyncio.to_thread(server.create)

    async def ready() -> bool:
        return server.status() == "ready"

    plan.parts += [
        Part(
            "postgres",
            lambda: Command(
                tuple(server.command()), {"PATH": os.defpath, "LC_ALL": "C"}, account, stop_signal=signal.SIGINT, grace=3.0,
            ),
            prepare=lambda: asyncio.to_thread(server.prepare), ready=ready, settle=settle,
        ),
        Part("migrations", migrations, after=("postgres", "forge"), once=True),
    ]


def _valkey(plan: Plan) -> None:
    if plan.settings.redis.url.get_secret_value():
        return
    home, account = plan.home, plan.home.account
    server = Valkey(home.directory("valkey"), home.directory("run/valkey"), account)
    plan.tell("redis", "url", server.url())
    plan.parts.append(Part(
        "valkey", lambda: Command(tuple(server.command()), {"PATH": os.defpath}, account, grace=2.0),
        prepare=lambda: asyncio.to_thread(server.prepare), ready=server.ready,
    ))


def _egress(plan: Plan) -> Part:
    directory = plan.home.directory("run/egress", 0o711, own=plan.account is not None)

    async def ready() -> bool:
        return all([await accepts(directory / name / "sock") for name in ("fetch", "build", "server")])

    return Part(
        "egress", plan.python("services.runtimes.local.egress_proxy", secrets=False), after=("forge",), ready=ready,
        outlives=("worker", "launcher", "reaper", "hub"), ended=_end_runs(plan.home),
    )


def _hub(plan: Plan) -> None:
    settings, home = plan.settings, plan.home
    if settings.hub.url:
        return
    # The hub runs as root: nobody else may write where it makes its socket. The account passes through, by its group.
    directory = home.directory("run/hub", 0o710 if home.account else 0o700, own=False)
    if home.account is not None:
        os.chown(directory, 0, home.account.gid)
    hub, api, token = directory / "hub.sock", home.directory("run/proxy") / "proxy.sock", home.secret("proxy-token")
    plan.tell("hub", "url", f"{socket_url(hub)}/hub/api/")
    plan.tell("hub", "public_url", f"http://localhost:{settings.front.port + 1}/")
    plan.tell("hub", "token", home.secret("hub-token"))
    plan.tell("hub", "exclusive", "true")
    public = urlsplit(plan.environ.get(variable("hub", "public_url"), settings.hub.public_url))
    proxy: list[str] = []

    async def install() -> None:
        proxy.extend(await asyncio.to_thread(proxy_command, home.path, CHECKOUT, plan.account))

    def start_proxy() -> Command:
        api.unlink(missing_ok=True)
        host = "127.0.0.1" if loopback(settings.front.host) else settings.front.host
        words = ["--ip", host, "--port", str(settings.front.port + 1), "--api-socket", str(api), "--log-level", "warn"]
        environ = plan.without_secrets() | {"CONFIGPROXY_AUTH_TOKEN": token, "NODE_OPTIONS": "--max-old-space-size=128"}
        return Command((*proxy, *words), environ, plan.account, cwd=home.path, grace=1.5)

    def start_hub() -> Command:
        hub.unlink(missing_ok=True)
        extra = {"CONFIGPROXY_AUTH_TOKEN": token, "DOCKYARD_PROXY_API": socket_url(api)}
        command = plan.python("deploy.hub", privileged=True, forked=False, secrets=True, **extra)()
        return Command(command.argv, command.environ, None, cwd=home.path / "hub", grace=2.0)

    async def hub_ready() -> bool:
        if await status_of("/hub/health", unix=hub) != 200:
            return False
        if home.account is not None:
            home.account.own(hub)  # the launcher and the proxy run as the account
        return True

    assert public.scheme
    plan.parts += [
        Part("proxy", start_proxy, prepare=install, ready=lambda: accepts(api)),
        Part(
            "hub", start_hub, after=("proxy",), ready=hub_ready, outlives=("launcher", "worker", "reaper"),
            ended=_end_servers(settings, home),
        ),
    ]


def _end_servers(settings: Settings, home: Home) -> Callable[[], Awaitable[None]]:
    """Removes the builds and servers of the runtime docker (a stopped engine has none), and the servers of the fake one."""
    async def end() -> None:
        if settings.runtime.name == "fake":
            from services.runtimes.fake import end_servers

            await asyncio.to_thread(end_servers, home.path / "hub")
        if settings.runtime.name == "docker":
            from services.runtimes.docker import end_everything

            with contextlib.suppress(DockyardError):
                await end_everything(settings)

    return end


def _end_runs(home: Home) -> Callable[[], Awaitable[None]]:
    """Stops every build and user server, once nobody can start another."""
    async def end() -> None:
        from services.runtimes.local.detached import stop_everything

        await asyncio.to_thread(stop_everything, home.path / "local")

    return end
