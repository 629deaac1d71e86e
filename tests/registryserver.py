"""A real docker-registry on loopback, and something that answers in its place. For benches too, so it knows nothing of pytest."""

import asyncio
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiohttp import web

from bench.ports import free_port
from tests import processes

PROGRAM = shutil.which("docker-registry")


class RegistryServer:
    """One registry process; its files stay between `stop` and `start`."""

    def __init__(self, directory: Path, auth: str = "", address: str = "127.0.0.1") -> None:
        self.port, self.address = free_port(address), address
        self.url = f"http://{address}:{self.port}"
        self.host = f"{address}:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "registry.log"
        self._config = directory / "registry.yml"
        self._config.write_text(
            f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{address}:{self.port}'}}\n{auth}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "serve", str(self._config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        processes.minded.add(self._process.pid)  # `registry` ends it
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/v2/", timeout=60).close()
                return
            except urllib.error.HTTPError as error:
                error.close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError(self._log.read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None


@contextmanager
def registry(directory: Path, auth: str = "", address: str = "127.0.0.1") -> Iterator[RegistryServer]:
    server = RegistryServer(directory, auth, address)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Door:
    """A registry that answers everything with one status."""

    def __init__(self) -> None:
        self.status, self.asked, self.port, self.hang = 200, 0, 0, False
        self.ping = 200  # what it answers to whoever asks whether it is a registry
        self.over = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.hang:
            await self.over.wait()
        status = self.ping if request.path == "/v2/" else self.status
        return web.Response(status=status, headers={"Docker-Content-Digest": "sha256:1", "WWW-Authenticate": 'Basic realm="x"'})


@asynccontextmanager
async def door() -> AsyncIterator[Door]:
    found, app = Door(), web.Application()
    app.router.add_route("*", "/{rest:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        found.over.set()
        await runner.cleanup()
