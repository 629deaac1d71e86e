"""The pages in a real browser: what a visitor sees, and what another page may do."""

import asyncio
import socket
from dataclasses import replace

import httpx
import pytest
from starlette.responses import HTMLResponse

from services.events import Kind, NewEvent
from services.settings import load
from services.states import LaunchState
from tests.api.live import BROWSER, REASON, Listening, Live, chromium, live, made, page, playwright
from tests.api.scenes import scenes

__all__ = ["chromium", "live", "page"]  # fixtures
pytestmark = BROWSER


async def test_a_typed_address_ends_in_the_server(live, page):
    await page.goto(live.at("/v2/gh/norvig/pytudes/HEAD?urlpath=about%3Fx=1"), wait_until="commit")  # it goes on by itself
    launch = await made(live)
    await page.wait_for_url(f"**/launches/{launch}")
    await live.move(launch, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    await playwright.expect(page.locator("#now")).to_have_text("Looking up the newest version of norvig/pytudes.")
    await playwright.expect(page).to_have_title("Waiting · norvig/pytudes")
    await live.move(launch, None, NewEvent(Kind.RESOLVING, {"message": "The forge sleeps.", "waits": True}))
    await playwright.expect(page.locator("#now + .then")).to_have_text("The forge sleeps.")
    build = await live.build("image:x")
    await live.move(launch, LaunchState.BUILDING, NewEvent(Kind.BUILDING, {"build": build}), build=build)
    await live.log(build, 1, ["Collecting numpy\n"])
    await playwright.expect(page.locator("#detail")).to_have_text("Collecting numpy")
    await playwright.expect(page).to_have_title("Building · norvig/pytudes")
    await live.move(launch, LaunchState.LAUNCHING, NewEvent(Kind.BUILT, {"image": "image:x", "log_end": 1}), NewEvent(Kind.LAUNCHING))
    await playwright.expect(page.locator("#live")).to_contain_text("Starting your server.")
    await live.move(launch, None, NewEvent(Kind.PROGRESS, {"message": "The hub sleeps.", "waits": True}))
    await playwright.expect(page.locator("#now + .then")).to_have_text("The hub sleeps.")
    await live.move(launch, None, NewEvent(Kind.PROGRESS, {"message": "It is awake."}))
    await playwright.expect(page.locator("#now")).to_have_text("Starting your server.")
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


@pytest.mark.parametrize("retry", ["click", "reload"])
async def test_a_lost_answer_does_not_launch_twice(live, page, retry):
    keys = []

    async def lose(route):
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            await route.continue_()
        else:
            await route.fetch()
            await route.abort()

    await page.route("**/api/v1/launches", lose)
    await page.goto(live.at("/v2/gh/norvig/pytudes/HEAD"))
    await playwright.expect(page.locator("#now")).to_have_text("The server does not answer.")
    launch = await made(live)
    await (page.reload(wait_until="commit") if retry == "reload" else page.get_by_role("button", name="Launch").click())
    await page.wait_for_url(f"**/launches/{launch}")
    assert await made(live) == launch
    await page.goto(live.at("/v2/gh/norvig/pytudes/HEAD"), wait_until="commit")  # this is a new wish
    await page.wait_for_url(lambda url: "/launches/" in url and launch not in url)
    assert keys[0] == keys[1] != keys[2]
    assert len(keys[0]) == 32


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
    async with httpx.AsyncClient(timeout=120) as http:
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


async def test_a_dropped_connection_is_told_and_resumed(live, page):
    launch, build = await live.building()
    last = await live.log(build, 1, [f"line {n}\n" for n in range(1, 11)])
    await page.goto(live.at(f"/launches/{launch}"))
    await page.locator("#log summary").click()
    await playwright.expect(page.locator("#L10 > span")).to_have_text("line 10")
    port = live.listening.port
    with socket.socket() as held:  # so that nobody else listens there meanwhile
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await live.listening.__aexit__()
        held.bind(("127.0.0.1", port))
        await playwright.expect(page.locator("#now")).to_contain_text("The connection dropped.")
        last = await live.log(build, last + 1, ["line 11\n"])
        live.listening = await Listening(live.app, port).__aenter__()
    await playwright.expect(page.locator("#L11 > span")).to_have_text("line 11")
    await playwright.expect(page.locator("#now")).to_have_text("Building the environment.")
    assert await page.locator(".l[id]").count() == 11


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


async def press_until(page, key, condition, most=25):
    """Press until what has the focus fulfils a condition; wherever it is meanwhile, it is to be seen."""
    for _ in range(most):
        await page.keyboard.press(key)
        where = await page.evaluate("""() => {
          const element = document.activeElement, style = getComputedStyle(element);
          return { text: element.textContent.trim(), label: element.ariaLabel ?? "", id: element.id, tag: element.tagName,
                   seen: element === document.body || style.outlineStyle !== "none" || element.className === "skip" };
        }""")
        assert where["seen"], where
        if condition(where):
            return
    raise AssertionError(f"never reached; last at {where}")


async def test_from_the_home_page_to_the_log_and_back_by_keyboard_alone(live, page):
    await page.goto(live.at("/about"))
    await press_until(page, "Tab", lambda at: at["text"] == live.settings.front.name)
    await page.keyboard.press("Enter")
    await page.wait_for_url(live.at("/"))
    await playwright.expect(page.get_by_label("Link", exact=True).first).to_be_focused()
    await page.keyboard.type("norvig/pytudes")
    await playwright.expect(page.locator("#repo")).to_have_value("norvig/pytudes")
    await press_until(page, "Tab", lambda at: at["id"] == "go")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/launches/*")
    launch, build = await made(live), await live.build("image:x")
    await live.move(launch, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    await live.move(launch, LaunchState.BUILDING, NewEvent(Kind.BUILDING, {"build": build}), build=build)
    await live.log(build, 1, [f"line {n}\n" for n in range(1, 40)])
    await playwright.expect(page.locator("#log")).to_be_visible()
    await press_until(page, "Tab", lambda at: at["tag"] == "SUMMARY")
    await page.keyboard.press("Enter")
    await playwright.expect(page.locator("#L39 > span")).to_have_text("line 39")
    await press_until(page, "Tab", lambda at: at["label"] == "Search the log")
    await page.keyboard.type("line 3")
    await playwright.expect(page.locator(".count")).to_have_text("1 of 11")
    await page.keyboard.press("Enter")
    await playwright.expect(page.locator("#L30.is-here")).to_be_in_viewport()
    await press_until(page, "Shift+Tab", lambda at: at["text"] == "Cancel")
    await page.keyboard.press("Enter")
    await playwright.expect(page.locator("#now")).to_have_text("This launch was cancelled.")
    await press_until(page, "Tab", lambda at: at["text"] == "Try again", most=3)
    await page.keyboard.press("Enter")
    await page.wait_for_url(lambda url: "/launches/" in url and launch not in url)


@pytest.mark.parametrize("name", ["home", "waiting", "building", "stopped", "nothing"])
async def test_a_page_is_small_until_the_log_is_opened(live, page, name):
    paths, sizes = await scenes(live), {}

    async def add(request):
        found = await request.sizes()
        sizes[request.url] = found["responseBodySize"] + found["responseHeadersSize"]

    begun, adding = set(), []
    page.on("request", lambda request: request.resource_type == "eventsource" or begun.add(request.url))
    page.on("requestfinished", lambda request: request.url in begun and adding.append(asyncio.ensure_future(add(request))))
    await page.goto(live.at(paths[name]), wait_until="load")
    async with asyncio.timeout(120):  # events of the browser come later than the page itself
        while len(sizes) < 3 or begun - sizes.keys():
            await asyncio.sleep(0.05)
    assert sum(sizes.values()) <= 20_000, sizes
    assert {url.split("/")[2] for url in sizes} == {live.at("").removeprefix("http://")}


async def test_the_home_page_is_usable_by_keyboard_alone(live, page):
    await page.goto(live.at("/"))
    await page.keyboard.type("https://github.com/norvig/pytudes/blob/main/a b.ipynb")
    await playwright.expect(page.locator("#repo")).to_have_value("norvig/pytudes")
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
