"""Real git servers on loopback, and repositories made from dictionaries.

    repo = Repo.create(root, "name.git")
    first = repo.commit({"requirements.txt": "numpy\n", "bin/run": Executable("#!/bin/sh\n"), "old.txt": None})
    repo.branch("dev")
    repo.tag("v1", message="annotated")

    with GitServer(root) as server:            # or: async with
        server.url("name.git")                 # http://127.0.0.1:PORT/name.git
        server.faults["name.git"] = Fault(status=503)
        server.hits("name.git")                # the requests that came for it

`GitServer` is the smart protocol through `git http-backend`, as a forge would speak it; it runs in a thread
of its own, so that tests of either colour and other processes can use it. `GitDaemon` is `git daemon`.
Commits have fixed dates, so the same steps give the same ids.
"""

import asyncio
import base64
import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from aiohttp import web

from bench.ports import free_port
from tests.gitrepo import ANY_OWNER, GIT_ENV, Executable, Repo, Submodule, Symlink, git

__all__ = ["Executable", "Fault", "GitDaemon", "GitServer", "Repo", "Submodule", "Symlink", "git"]


@dataclass
class Fault:
    """What happens to requests for a repository instead of, or before, an answer."""

    status: int = 0  # answer with this status; 0: the true answer
    delay: float = 0.0  # seconds before anything is answered
    hang: bool = False  # never answer
    location: str = ""  # with a status 3xx: where to; the rest of the path and the query are appended
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    times: int = -1  # how many requests have the fault; -1: all


class GitServer:
    """`git http-backend` for every repository below `root`, on a free port of loopback.

    `protocols=False` makes it speak only the old protocol, which refuses commits that no ref points to; `tls` is the
    directory of a `cert.pem` and `key.pem` for https.
    """

    def __init__(
        self, root: Path, *, protocols: bool = True, port: int = 0, host: str = "127.0.0.1", tls: Path | None = None
    ) -> None:
        self.root = root
        self.host = host
        self.protocols = protocols
        self.faults: dict[str, Fault] = {}
        self.login = ""  # "user:password" that every request has to bring
        self.requests: list[str] = []  # "GET /name.git/info/refs?service=git-upload-pack"
        self.port = port
        self._tls: ssl.SSLContext | None = None
        if tls is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(tls / "cert.pem", tls / "key.pem")
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gitserver", daemon=True)

    @property
    def address(self) -> str:
        """Without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def url(self, name: str) -> str:
        """The address of a repository."""
        return f"{self.address}/{name}"

    def hits(self, name: str) -> list[str]:
        """The requests for a repository since the start (or since `requests` was cleared)."""
        return [request for request in list(self.requests) if request.split(" ", 1)[1].startswith(f"/{name}/")]

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise RuntimeError("the git server did not start") from self._error
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(self.__exit__)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the thread's edge: shown by __enter__
            self._error = error
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=256 << 20)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        open_ones = [one.transport for one in runner.server.connections] if runner.server else []
        await runner.cleanup()
        for transport in filter(None, open_ones):
            transport.abort()  # what is still to be written, nobody reads any more
        await asyncio.sleep(0)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.raw_path}")
        name = next((name for name in self.faults if request.path.startswith(f"/{name}/")), None)
        fault = self.faults.get(name, Fault()) if name else Fault()
        if fault.times == 0:
            fault = Fault()
        elif fault.times > 0:
            fault.times -= 1
        if fault.hang:
            await self._stop.wait()
            raise web.HTTPServiceUnavailable
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.status:
            headers = dict(fault.headers)
            if fault.location:
                headers["Location"] = fault.location + request.raw_path.removeprefix(f"/{name}")
            if fault.status == 401:
                headers.setdefault("WWW-Authenticate", 'Basic realm="git"')
            return web.Response(status=fault.status, headers=headers, text=fault.body)
        if self.login and request.headers.get("Authorization") != f"Basic {base64.b64encode(self.login.encode()).decode()}":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        return await self._backend(request)

    async def _backend(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()  # aiohttp has unpacked it
        env = GIT_ENV | ANY_OWNER | {
            "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string, "REQUEST_METHOD": request.method, "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": request.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
        }
        if self.protocols:
            env["GIT_PROTOCOL"] = request.headers.get("Git-Protocol", "")
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate(body)
        head, _, content = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, body=content, headers=headers)


class GitDaemon:
    """`git daemon` (git://) for every repository below `root`, on a free port of loopback."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()

    def url(self, name: str) -> str:
        """The address of a repository."""
        return f"git://127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["git", "daemon", "--listen=127.0.0.1", f"--port={self.port}", "--export-all", "--reuseaddr",
             f"--base-path={self.root}", "--informative-errors", str(self.root)],
            env=GIT_ENV | ANY_OWNER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 60).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(0.02)

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 15)
        self._process.wait()
