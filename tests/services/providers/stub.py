"""A web server on loopback that answers as a forge did when it was recorded."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from yarl import URL

RECORDINGS = Path(__file__).parents[2] / "recordings"


@dataclass
class Page:
    """One answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass
class Stub:
    """Answers by path (still escaped, with or without its query); keeps every request; `held` makes requests wait until it is set."""

    pages: dict[str, Page] = field(default_factory=dict)
    series: dict[str, list[Page]] = field(default_factory=dict)  # by method and path: one answer after the other, before `pages`
    requests: list[web.BaseRequest] = field(default_factory=list)
    everything: Page | None = None  # what is answered to all requests instead
    held: asyncio.Event | None = None
    port: int = 0

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [request.raw_path for request in self.requests]

    def record(self, name: str) -> None:
        """Answer as the recording `name` says, whatever host it was made on."""
        for address, answer in json.loads((RECORDINGS / f"{name}.json").read_text()).items():
            path = URL(address, encoded=True).raw_path
            self.pages[path] = Page(answer["code"], dict(answer["headers"]), answer["body"])

    def page(self, path: str, content: Any, status: int = 200, **headers: str) -> None:
        """Answer `path` with JSON."""
        self.pages[path] = Page(status, {"Content-Type": "application/json"} | headers, json.dumps(content))

    def redirect(self, path: str, location: str) -> None:
        """Answer `path` with a redirect."""
        self.pages[path] = Page(302, {"Location": location})

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, with 304 where the client knows the current ETag."""
        self.requests.append(request)
        if self.held is not None:
            await self.held.wait()
        path = request.raw_path.partition("?")[0]
        if answers := self.series.get(f"{request.method} {path}"):
            page = answers.pop(0)
            return web.Response(status=page.status, headers=page.headers, body=page.body.encode())
        page = self.everything or self.pages.get(request.raw_path) or self.pages.get(path) or Page(404, {}, '{"message": "Not Found"}')
        etag = page.headers.get("Etag")
        if etag is not None and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"Etag": etag})
        return web.Response(status=page.status, headers=page.headers, body=page.body.encode())


@asynccontextmanager
async def serving() -> AsyncIterator[Stub]:
    """A stub on a free port."""
    stub = Stub()
    runner = web.ServerRunner(web.Server(stub.answer), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stub.port = runner.addresses[0][1]
    yield stub
    await runner.cleanup()
