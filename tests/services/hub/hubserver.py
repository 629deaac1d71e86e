"""A real JupyterHub for a test, with servers that are tiny processes; it can be killed and started again."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from services.errors import Unreachable
from services.hub import Hub
from services.settings import HubSettings

ROOT = Path(__file__).parents[3]


class HubServer:
    """The hub's process and the settings that lead to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        socket = quote(str(directory / "hub.sock"), safe="")
        self.settings = HubSettings.model_validate({
            "url": f"http+unix://{socket}/hub/api/", "public_url": "http://hub.test/", "token": "token-of-the-tests", "restart": 300,
        })
        self.process: asyncio.subprocess.Process | None = None
        (directory / "hub").mkdir(exist_ok=True)

    async def start(self) -> None:
        with (self.directory / "hub.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "deploy.hub", "-f", str(Path(__file__).with_name("hub_config.py")),
                cwd=ROOT, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
                env={
                    "PATH": os.environ["PATH"],
                    "DOCKYARD_HUB_URL": self.settings.url, "DOCKYARD_HUB_PUBLIC_URL": self.settings.public_url,
                    "DOCKYARD_HUB_TOKEN": self.settings.token.get_secret_value(),
                    "DOCKYARD_HOME_PATH": str(self.directory), "DOCKYARD_RUNTIME_NAME": "fake",
                    "DOCKYARD_PROXY_API": "http://unused", "CONFIGPROXY_AUTH_TOKEN": "unused",
                },
            )

    async def answers(self) -> None:
        """Wait until the hub answers."""
        async with Hub(self.settings) as hub:
            while True:
                with contextlib.suppress(Unreachable):
                    await hub.version()
                    return
                assert self.process is not None
                assert self.process.returncode is None, (self.directory / "hub.log").read_text()[-3000:]
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    def end_servers(self) -> None:
        """Kill the servers that are left: processes whose command line names our directory."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"{self.directory}/hub/".encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)


@contextlib.asynccontextmanager
async def running_hub() -> AsyncIterator[HubServer]:
    """A hub of one's own, in a directory that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="hub-") as directory:
        server = HubServer(Path(directory))
        await server.start()
        try:
            await server.answers()
            yield server
        finally:
            assert server.process is not None
            if server.process.returncode is None:
                await server.kill()
            server.end_servers()
