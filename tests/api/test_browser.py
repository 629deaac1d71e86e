"""The pages in a real browser: what a visitor sees, what another page may do, and what a screen reader meets."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp

from services.events import Kind, NewEvent
from services.settings import Settings, load
from services.states import LaunchState
from tests.api.front import Front

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]
# Nothing may leave this machine, neither for the pages nor for the browser itself.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
REASON = {"code": "build_failed", "message": "pip could not find a package named 'torchh'.", "hint": "Did you mean torch?"}


class Listening:
    """An app on a free port, in this event loop."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.port = 0

    async def __aenter__(self) -> "Listening":
        self.serving = asyncio.create_task(self.server._serve())
        while not self.server.started:
            await asyncio.sleep(0.02)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.should_exit = True
        await self.serving

    def at(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


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
    page = await context.new_page()
    page.set_default_timeout(15_000)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text and "Framing" not in said.text else None)
    yield page
    await context.close()
    assert wrong == []


async def made(live: Live) -> str:
    """The id of the one launch, once there is one."""
    while True:
        async with httpx.AsyncClient() as http:
            answer = await http.get(live.at("/api/v1/launches"), headers={"authorization": "Bearer the-admin-token-of-the-tests"})
        if items := answer.json()["items"]:
            (launch,) = items
            return launch["id"]
        await asyncio.sleep(0.05)


async def test_a_typed_address_ends_in_the_server(live, page):
    await page.goto(live.at("/v2/gh/norvig/pytudes/HEAD?urlpath=about%3Fx=1"))
    launch = await made(live)
    await page.wait_for_url(f"**/launches/{launch}")
    await live.move(launch, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    await playwright.expect(page.locator("#now")).to_have_text("Looking up HEAD of norvig/pytudes.")
    await playwright.expect(page).to_have_title("Waiting · norvig/pytudes")
    build = await live.build("image:x")
    await live.move(launch, LaunchState.BUILDING, NewEvent(Kind.BUILDING, {"build": build}), build=build)
    await live.log(build, 1, ["Collecting numpy\n"])
    await playwright.expect(page.locator("#detail")).to_have_text("Collecting numpy")
    await playwright.expect(page).to_have_title("Building · norvig/pytudes")
    await live.move(launch, LaunchState.LAUNCHING, NewEvent(Kind.BUILT, {"image": "image:x", "log_end": 1}), NewEvent(Kind.LAUNCHING))
    await playwright.expect(page.locator("#live")).to_contain_text("Starting your server.")
    await live.move(launch, LaunchState.READY, NewEvent(Kind.READY, {"url": live.at("/"), "server": "0" * 32}), url=live.at("/"))
    await page.wait_for_url("**/about?x=1&token=*")
    await page.go_back()  # who comes back wants to stay
    await playwright.expect(page.locator("#now")).to_have_text("Your server is running.")
    assert len(await live.told(launch)) == 1


async def test_a_link_of_another_site_asks_for_a_click(live, page):
    await page.goto(live.at("/about", "localhost"))
    await page.evaluate("address => { location.href = address }", live.at("/v2/gh/norvig/pytudes/HEAD"))
    await page.wait_for_url("**/v2/**")
    await playwright.expect(page.locator("#now")).to_contain_text("starts a server with the code of this repository")
    await page.get_by_role("button", name="Launch").click()
    await page.wait_for_url(f"**/launches/{await made(live)}")


STRANGER = """async ([at, launch]) => {
  const tried = {};
  const attempt = async (name, work) => {
    try { tried[name] = await work(); } catch (error) { tried[name] = "refused"; }
  };
  const post = { method: "POST", headers: { "content-type": "text/plain" }, body: '{"link":"a/b"}' };
  await attempt("page", () => fetch(`${at}/launches/${launch}`).then((answer) => answer.text()));
  await attempt("json", () => fetch(`${at}/api/v1/launches/${launch}`).then((answer) => answer.text()));
  await attempt("post", () => fetch(`${at}/api/v1/launches`, post).then((answer) => answer.text()));
  await attempt("blind", () => fetch(`${at}/api/v1/launches`, { ...post, mode: "no-cors" }).then(() => "sent"));
  await attempt("image", () => new Promise((done) => {
    const image = new Image(); image.onload = image.onerror = () => done("sent"); image.src = `${at}/build/gh/a/b/HEAD`;
  }));
  await attempt("stream", () => new Promise((done, no) => {
    const source = new EventSource(`${at}/build/gh/a/b/HEAD`);
    source.onmessage = (event) => { source.close(); done(JSON.parse(event.data).status_code); };
    source.onerror = () => { source.close(); no(); };
  }));
  await attempt("versions", () => fetch(`${at}/versions`).then((answer) => answer.json()).then((found) => "binderhub" in found));
  const frame = document.createElement("iframe");
  await attempt("frame", () => new Promise((done) => {
    frame.onload = () => { try { done(frame.contentDocument === null ? "closed" : "empty"); } catch { done("closed"); } };
    frame.src = `${at}/launches/${launch}`; document.body.append(frame);
  }));
  return tried;
}"""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_page_of_another_origin_starts_nothing_and_reads_nothing(live, page, host):
    launch = await live.launch()
    async with Listening(HTMLResponse("<!doctype html><title>Elsewhere</title><body>")) as stranger:
        await page.goto(stranger.at("/", host))
        said = await page.evaluate(STRANGER, [live.at(""), launch])
    assert said == {
        "page": "refused", "json": "refused", "post": "refused", "blind": "refused", "image": "sent", "stream": 403, "versions": True,
        "frame": "closed",
    }
    async with httpx.AsyncClient() as http:
        assert (await http.get(live.at("/api/v1/stats"))).json()["launches"] == {"waiting": 1}


async def test_an_allowed_origin_launches_as_thebe_does(settings, page):
    async with Listening(HTMLResponse("<!doctype html><title>A book</title><body>")) as book:
        front = load({"DOCKYARD_FRONT_PORT": "0", "DOCKYARD_FRONT_ORIGINS": book.at("", "localhost")}).front
        async with Live(replace(settings, front=front)) as live:
            await page.goto(book.at("/", "localhost"))
            phase = await page.evaluate("""(address) => new Promise((done, no) => {
              const source = new EventSource(address);
              source.onmessage = (event) => { source.close(); done(JSON.parse(event.data).phase); };
              source.onerror = () => { source.close(); no("error"); };
            })""", live.at("/build/gh/norvig/pytudes/HEAD"))
            assert phase == "waiting"
            assert await made(live)


async def test_a_failure_opens_the_log_at_the_lines_that_matter(live, page):
    launch, build = await live.building()
    last = await live.log(build, 1, [f"line {n}\n" for n in range(1, 301)])
    last = await live.log(build, last + 1, ["\x1b[31mERROR: No matching distribution found for torchh\x1b[0m\n", "bye\n"])
    await page.goto(live.at(f"/launches/{launch}"))
    assert not await page.locator("#log").evaluate("log => log.open")
    await live.fail(launch, build, REASON, last)
    await playwright.expect(page.locator(".why")).to_have_text(REASON["message"])
    await playwright.expect(page.locator("pre.matter")).to_have_text("ERROR: No matching distribution found for torchh")
    await playwright.expect(page.locator("#L302 > span")).to_have_text("bye")
    await playwright.expect(page).to_have_title("Failed · norvig/pytudes")
    await page.get_by_label("Search the log").fill("line 29")
    await playwright.expect(page.locator(".count")).to_have_text("1 of 11")
    await page.reload()
    await playwright.expect(page.locator("#L302 > span")).to_have_text("bye")
    assert await page.locator(".l[id]").count() == 302


async def test_a_line_of_a_build_has_an_address(live, page):
    launch, build = await live.building()
    last = await live.log(build, 1, [f"line {n}\n" for n in range(1, 1201)])
    await live.fail(launch, build, REASON, last)
    await page.goto(live.at(f"/builds/{build}#L700"))
    await playwright.expect(page.locator("#L700.is-here")).to_be_in_viewport()


async def test_cancel_and_try_again(live, page):
    launch, _ = await live.building()
    await page.goto(live.at(f"/launches/{launch}"))
    await page.get_by_role("button", name="Cancel").press("Enter")
    await playwright.expect(page.locator("#now")).to_have_text("This launch was cancelled.")
    await page.get_by_role("button", name="Try again").press("Enter")
    await playwright.expect(page.locator("#now")).to_have_text("Waiting for a free worker.")
    assert launch not in page.url


async def test_the_home_page_is_usable_by_keyboard_alone(live, page):
    await page.goto(live.at("/"))
    await page.keyboard.type("https://github.com/norvig/pytudes/blob/main/a b.ipynb")
    await playwright.expect(page.get_by_label("Repository")).to_have_value("norvig/pytudes")
    await playwright.expect(page.get_by_label("File to open")).to_have_value("a b.ipynb")
    await playwright.expect(page.locator("#share-link")).to_have_value(live.at("/v2/gh/norvig/pytudes/main?labpath=a%20b.ipynb"))
    await page.get_by_label("Branch, tag or commit").fill("dev")
    await playwright.expect(page.locator("#share-link")).to_have_value(live.at("/v2/gh/norvig/pytudes/dev?labpath=a%20b.ipynb"))
    await page.get_by_label("Link", exact=True).first.press("Enter")
    await page.wait_for_url("**/launches/*")


async def test_colours_and_carriage_returns_of_a_log(live, page):
    await page.goto(live.at("/about"))
    lines = await page.evaluate("""async () => {
      const { Ansi } = await import("/static/log.js");
      const ansi = new Ansi();
      return ["plain", "\\x1b[1;31mred\\x1b[0m and \\x1b[38;5;208mwide\\x1b[39m", "\\x1b[32mgreen", "still green\\x1b[m",
        "10%\\r50%\\rdone", "x\\x1b[2K\\x1b]8;;http://evil\\x07link\\x1b]8;;\\x07", "ab\\x08c", "<img src=x onerror=alert(1)>",
      ].map((raw) => {
          const { plain, nodes } = ansi.line(raw);
          const box = document.createElement("div"); box.append(...nodes);
          return [plain, box.innerHTML];
        });
    }""")
    assert lines == [
        ["plain", "plain"],
        ["red and wide", '<span class="b f1">red</span> and <span class="" style="color: rgb(255, 135, 0);">wide</span>'],
        ["green", '<span class="f2">green</span>'],
        ["still green", '<span class="f2">still green</span>'],
        ["done", "done"],
        ["xlink", "xlink"],
        ["ac", "ac"],
        ["<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"],
    ]


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """The source of axe-core, fetched once by its lock file."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here, so no axe-core")
    folder = Path(pytestconfig.cache.mkdir("axe"))
    script = folder / "node_modules/axe-core/axe.min.js"
    if not script.exists():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(Path(__file__).parent / "axe" / name, folder)
        done = subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, check=False)
        if done.returncode or not script.exists():
            pytest.skip("axe-core cannot be fetched here")
    return script.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(live, chromium, axe, scheme):
    waiting = await live.launch()
    building, _ = await live.building()
    failed, build = await live.building()
    last = await live.log(build, 1, ["one\n", "\x1b[31mERROR: two\x1b[0m\n", "\x1b[2mthree\x1b[0m \x1b[34mfour\x1b[0m\n"])
    await live.fail(failed, build, REASON, last)
    ready, _ = await live.building()
    await live.ready(ready, live.at("/"))
    context = await chromium.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    await context.add_init_script(f"sessionStorage.setItem('opened {ready}', '1')")
    page = await context.new_page()
    found = {}
    for path in (
        "/", "/?link=norvig/pytudes&share=1", "/?link=nonsense", "/about", "/nothing", "/v2/gh/norvig/pytudes", f"/launches/{waiting}",
        f"/launches/{building}", f"/launches/{failed}", f"/launches/{ready}", f"/builds/{build}",
    ):
        await page.goto(live.at(path))
        if path.endswith((failed, build)):
            await page.locator("pre.matter").wait_for()
        await page.evaluate(axe)
        result = await page.evaluate("axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })")
        found[path] = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in result["violations"]]
    await page.goto(live.at("/ops"))
    await page.evaluate(axe)
    rules = "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })"
    await page.get_by_label("Admin token").fill("the-admin-token-of-the-tests")
    await page.get_by_role("button", name="Open").click()
    await page.get_by_role("heading", name="Launches").wait_for()
    await page.evaluate(axe)
    found["/ops"] = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in (await page.evaluate(rules))["violations"]]
    await context.close()
    assert {path: rules for path, rules in found.items() if rules} == {}


async def test_the_launch_page_works_without_a_script(live, chromium):
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(live.at("/"))
    await page.get_by_label("Link", exact=True).first.fill("norvig/pytudes")
    await page.get_by_role("button", name="Launch").click()
    await page.get_by_role("button", name="Launch").click()
    await page.wait_for_url("**/launches/*")
    launch = await made(live)
    await live.move(launch, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    await playwright.expect(page.locator("#now")).to_have_text("Looking up HEAD of norvig/pytudes.")  # the page asks again by itself
    await context.close()
