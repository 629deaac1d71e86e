"""Clients that live in pages of other sites, in a real browser: thebe and juniper. The user server is made up here."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.api.live import BROWSER, chromium, page
from tests.clients.conftest import Site, repository
from tests.listening import Listening
from tests.stack import SHA

__all__ = ["chromium", "page"]  # fixtures
pytestmark = [*BROWSER, pytest.mark.slow, pytest.mark.xdist_group("clients")]
BOOK = "<!doctype html><title>A book</title><script src='/packages/{script}'></script><body>"
OPEN = {"access-control-allow-origin": "*", "access-control-allow-headers": "*, authorization", "access-control-allow-methods": "*"}

THEBE = """async ([binderUrl, repoProvider, repo, ref]) => {
  const { api } = window.thebeCore;
  const config = api.makeConfiguration({
    useBinder: true, binderOptions: { binderUrl, repo, ref, repoProvider }, savedSessions: { enabled: false },
  });
  const server = api.makeServer(config);
  server.connectToServerViaBinder();
  await server.ready;
  return server.userServerUrl;
}"""
JUNIPER = """async ([url, repo, branch]) => {
  const told = [];
  document.addEventListener("juniper", ({ detail }) => told.push(detail.status));
  const juniper = new window.Juniper({ url: url.replace(/[/]$/, ""), repo, branch, useStorage: false, noAutoInit: true });
  const settings = await juniper.requestBinder(repo, branch, juniper.url);
  juniper.requestKernel(settings).catch(() => {});
  return [settings, told];
}"""


@pytest.fixture(scope="module")
async def book(packages: Path) -> AsyncIterator[Callable[[str], str]]:
    """A site of another origin, whose pages load one client."""
    routes = [
        *(Route(f"/{name}", lambda request, script=script: HTMLResponse(BOOK.format(script=script))) for name, script in (
            ("thebe", "thebe-core/dist/lib/thebe-core.min.js"), ("juniper", "juniper-js/dist/juniper.min.js"))),
        Mount("/packages", StaticFiles(directory=packages / "node_modules")),
    ]
    async with Listening(Starlette(routes=routes)) as found:
        yield found.at


@pytest.fixture
async def asked(page: Any) -> list[str]:
    """What pages ask of a user server: it has no kernels yet, and starts one."""
    found: list[str] = []

    async def answer(route: Any) -> None:
        found.append(f"{route.request.method} {route.request.url}")
        body = '{"id": "a", "name": "python3"}' if route.request.method == "POST" else "[]"
        await route.fulfill(status=200, body=body, headers=OPEN, content_type="application/json")

    await page.route("**/user/**", answer)
    return found


@pytest.mark.parametrize(("provider", "home"), [("github", "https://github.com/"), ("git", "https://example.org/")])
async def test_thebe(
    site: Site, base: str, page: Any, book: Callable[[str], str], asked: list[str], provider: str, home: str,
) -> None:
    await page.goto(book("/thebe"))
    address = await page.evaluate(THEBE, [base, provider, f"{home}{repository('lines-2')}", SHA])
    server, _, token = address.partition("?token=")
    assert (server.startswith("http://localhost:"), server.endswith("/"), len(token)) == (True, True, 22)
    assert any(said.startswith(f"GET {server}api/sessions") for said in asked)


async def test_juniper(site: Site, base: str, page: Any, book: Callable[[str], str], asked: list[str]) -> None:
    await page.goto(book("/juniper"))
    async with page.expect_request("**/api/kernels*"):
        settings, told = await page.evaluate(JUNIPER, [base, repository("lines-2"), SHA])
    assert settings["wsUrl"] == f"ws{settings['baseUrl'].removeprefix('http')}"
    assert (told[-1], len(settings["token"])) == ("server-ready", 22)
    assert "failed" not in told
