"""A front door that listens, and a real browser to look at it. Skipped, with the reason, where there is no Chromium."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from services.settings import Settings, load
from tests.api.front import Front
from tests.listening import Listening

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BROWSER = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
# Nothing may leave this machine, neither for the pages nor for the browser itself.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
ADMIN = "the-admin-token-of-the-tests"
PATIENCE = 120_000  # milliseconds that a browser may take for one step, whatever else the machine does
playwright.expect.set_options(timeout=PATIENCE)
REASON = {"code": "build_failed", "message": "pip could not find a package named 'torchh'.", "hint": "Did you mean torch?"}


class Live(Front):
    """A front door that listens."""

    async def __aenter__(self) -> "Live":
        self.listening = await Listening(self.app).__aenter__()
        self.at = self.listening.at
        self.fanout.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.listening.__aexit__()
        await self.aclose()


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[Live]:
    front = load({"DOCKYARD_FRONT_PORT": "0", "DOCKYARD_FRONT_HOLD": "0"}).front
    async with Live(replace(settings, front=front)) as found:
        yield found


@pytest.fixture(scope="session")
async def chromium():
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium):
    """A page that may not have errors, unless a test expects them."""
    context = await chromium.new_context()
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text and "Framing" not in said.text else None)
    yield page
    await context.close()
    assert wrong == []


async def made(live: Live) -> str:
    """The id of the one launch, once there is one."""
    while True:
        async with httpx.AsyncClient(timeout=120) as http:
            answer = await http.get(live.at("/api/v1/launches"), headers={"authorization": f"Bearer {ADMIN}"})
        if items := answer.json()["items"]:
            (launch,) = items
            return launch["id"]
        await asyncio.sleep(0.05)
