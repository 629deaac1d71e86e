"""What a screen reader meets, checked with axe-core, and the pages without any script."""

import shutil
import subprocess
from pathlib import Path

import pytest

from services.events import Kind, NewEvent
from services.states import LaunchState
from tests.api.live import ADMIN, BROWSER, REASON, chromium, live, made, playwright

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
    await page.get_by_label("Admin token").fill(ADMIN)
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
    # The page asks again by itself.
    await playwright.expect(page.locator("#now")).to_have_text("Looking up the newest version of norvig/pytudes.")
    await context.close()
