"""What a screen reader meets, checked with axe-core, and the pages without any script."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from services.events import Kind, NewEvent
from services.states import LaunchState
from tests.api.live import ADMIN, BROWSER, PATIENCE, chromium, live, made, playwright
from tests.api.scenes import scenes

__all__ = ["chromium", "live"]  # fixtures
pytestmark = BROWSER


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """The source of axe-core, fetched once by its lock file."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here, so no axe-core")
    folder = Path(pytestconfig.cache.mkdir("axe"))
    script = folder / "node_modules/axe-core/axe.min.js"
    with (folder / "lock").open("w") as lock:  # the folder is that of all processes of all runs
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not script.exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(Path(__file__).parent / "axe" / name, folder)
            done = subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, check=False)
            if done.returncode or not script.exists():
                pytest.skip("axe-core cannot be fetched here")
        return script.read_text()


RULES = "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })"
DARK = ("home found", "home wrong", "waiting", "building", "failed", "ready", "ending", "build", "gone")  # where there are colours


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_any_state(live, chromium, axe, scheme):
    paths = await scenes(live)
    ready = paths.pop("ids of ready")
    context = await chromium.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    await context.add_init_script("".join(f"sessionStorage.setItem('opened {launch}', '1');" for launch in ready))
    page = await context.new_page()
    hosts, found = set(), {}
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))

    async def check(name):
        await page.evaluate(axe)
        found[name] = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in (await page.evaluate(RULES))["violations"]]

    for name in DARK if scheme == "dark" else paths:
        if name == "asked":  # by a page of another origin, or it would start
            await page.goto(live.at("/about", "localhost"))
            await page.evaluate("address => { location.href = address }", live.at(paths[name]))
            await page.wait_for_url("**/v2/**")
        else:
            await page.goto(live.at(paths[name]))
        if name in ("failed", "build"):
            await page.locator("pre.matter").wait_for()
        await check(name)
    await page.goto(live.at("/ops"))
    await check("ops login")
    await page.get_by_label("Admin token").fill(ADMIN)
    await page.get_by_role("button", name="Open").click()
    await page.get_by_role("button", name="Sign out").wait_for()
    await check("ops")
    await page.goto(live.at("/ops?q=state:failed"))
    await page.locator("#s-jobs a[data-job]").first.click()
    await page.locator("#drawer h2").wait_for()
    await check("ops job")
    await page.get_by_role("link", name="Ban the repository").click()
    await page.locator("#asking h2").wait_for()
    await check("ops asks")
    await context.close()
    assert {name: rules for name, rules in found.items() if rules} == {}
    assert hosts == {live.at("").removeprefix("http://"), live.at("", "localhost").removeprefix("http://")} - (
        {live.at("", "localhost").removeprefix("http://")} if scheme == "dark" else set())  # no request to anybody else


async def test_the_launch_page_works_without_a_script(live, chromium):
    context = await chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    await page.goto(live.at("/"))
    await page.get_by_label("Link", exact=True).first.fill("norvig/pytudes")
    await page.get_by_role("button", name="Launch").click()
    await page.wait_for_url("**/v2/**")
    await page.get_by_role("button", name="Launch").click()
    await page.wait_for_url("**/launches/*")
    launch = await made(live)
    await live.move(launch, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    # The page asks again by itself.
    await playwright.expect(page.locator("#now")).to_have_text("Looking up the newest version of norvig/pytudes.")
    await context.close()
