"""Hub, proxy and the way out, as `up` starts them, for a test: the parts' commands come from the table of `up`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from bench.ports import free_ports
from cli.embedded.account import barrier, service_account
from cli.embedded.child import Child, Log
from cli.embedded.home import open_home
from cli.embedded.parts import make_plan
from services.hub import Hub
from services.runtimes.local.detached import stop_everything
from services.runtimes.local.servers import Servers
from services.settings import Settings, load
from tests import processes


class Stack:
    """The parts of `up` that servers need, each of which can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        account = service_account()
        self.home = open_home(directory, account)
        if account is not None and any(barrier(Path(path), account) for path in (sys.executable, sys.base_prefix, __file__)):
            account = None  # as `up` does where the account cannot read our code
        plan = make_plan(load({}, defaults={"front": {"port": free_ports()}}), self.home, account, {})
        self.parts = {part.name: part for part in plan.parts if part.name in ("egress", "proxy", "hub")}
        self.settings: Settings = load({key: value for key, value in plan.environ.items() if key.startswith("DOCKYARD_")})
        self.children: dict[str, Child] = {}
        self.logs: list[Log] = []

    @property
    def servers(self) -> Servers:
        return Servers(self.settings.home, self.settings.local, self.settings.builds)

    def hub(self) -> Hub:
        return Hub(self.settings.hub)

    def pid(self, name: str) -> int:
        return self.children[name].pid

    async def start(self, *names: str) -> None:
        for name in names or ("egress", "proxy", "hub"):
            part = self.parts[name]
            if name not in self.children:
                await part.prepare()
            log = Log(self.home.path / "log" / f"{name}.log")
            self.logs.append(log)
            child = self.children[name] = Child(part.command(), log)
            await child.start()
            processes.minded.add(child.pid)
            while not await part.ready():
                assert child.running, "\n".join(child.tail)
                await asyncio.sleep(0.03)

    async def kill(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGKILL)
        await self.children[name].wait()

    async def stop(self) -> None:
        for name in ("hub", "proxy", "egress"):
            if name in self.children:
                await self.children[name].stop()
        await asyncio.to_thread(stop_everything, self.home.path / "local")
        for log in self.logs:
            log.close()
