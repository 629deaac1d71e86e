"""`python -m tests.api.shots DIRECTORY [NAME …]`: a picture of each state of each page, in two widths, light and dark, to be looked at."""

import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from services.settings import load
from tests import servers
from tests.api.live import ADMIN, ARGUMENTS, CHROMIUM, Live, playwright
from tests.api.scenes import scenes
from tests.stack import own_settings

WIDTHS = {390: 844, 1280: 800}
CONTRASTS = {
    f"{name}-{scheme}": {key: value, "color_scheme": scheme}
    for name, key, value in (("forced", "forced_colors", "active"), ("contrast", "contrast", "more")) for scheme in ("light", "dark")
}
SCRIPTLESS = ("home", "waiting", "failed", "build", "gone")


async def take(folder: Path, names: list[str]) -> None:
    """Take them all, or the named ones."""
    front = load({"DOCKYARD_FRONT_PORT": "0", "DOCKYARD_FRONT_HOLD": "0", "DOCKYARD_RUNTIME_NAME": "kubernetes"})
    async with own_settings(Path(tempfile.mkdtemp())) as (settings, _):
        settings = replace(settings, front=front.front, runtime=front.runtime)
        async with Live(settings) as live, playwright.async_playwright() as driver:
            paths = await scenes(live)
            ready = paths.pop("ids of ready")
            browser = await driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            for width, height in WIDTHS.items():
                for scheme in ("light", "dark"):
                    context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
                    await context.add_init_script("".join(f"sessionStorage.setItem('opened {launch}', '1');" for launch in ready))
                    await _each(context, live, paths, folder, names, f"{width}-{scheme}")
                    await context.close()
            for name, how in CONTRASTS.items():
                context = await browser.new_context(viewport={"width": 1280, "height": 800}, **how)
                await context.add_init_script("".join(f"sessionStorage.setItem('opened {launch}', '1');" for launch in ready))
                await _each(context, live, paths, folder, names, f"1280-{name}")
                await _ops(context, live, folder, names, f"1280-{name}")
                await context.close()
            context = await browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
            await _each(context, live, {name: paths[name] for name in SCRIPTLESS}, folder, names, "390-no-script")
            await browser.close()


async def _each(context, live, paths, folder, names, suffix) -> None:
    page = await context.new_page()
    for name, path in paths.items():
        if names and name not in names:
            continue
        if name == "asked":  # by a page of another origin
            await page.goto(live.at("/about", "localhost"))
            await page.evaluate("address => { location.href = address }", live.at(path))
            await page.wait_for_url("**/v2/**")
        else:
            await page.goto(live.at(path))
        if "script" not in suffix and name in ("failed", "build"):
            await page.locator("pre.matter").wait_for()
        if name in ("building", "long") and "script" not in suffix:
            await page.locator("#log summary").click()
            await page.locator("#L1, #L2").first.wait_for()
            await page.locator(".is-current time[data-since]").wait_for()
        await page.wait_for_timeout(700)  # the script marks lines once the log is quiet
        await page.screenshot(path=folder / f"{name.replace(' ', '-')}-{suffix}.png", full_page=name not in ("build running",))
        print(folder / f"{name.replace(' ', '-')}-{suffix}.png")


async def _ops(context, live, folder, names, suffix) -> None:
    if names and "ops" not in names:
        return
    page = await context.new_page()
    await page.goto(live.at("/ops"))
    await page.get_by_label("Admin token").fill(ADMIN)
    await page.get_by_role("button", name="Open").click()
    await page.get_by_role("button", name="Sign out").wait_for()
    await page.wait_for_timeout(300)
    await page.screenshot(path=folder / f"ops-{suffix}.png", full_page=True)
    print(folder / f"ops-{suffix}.png")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    servers.begin()
    try:
        asyncio.run(take(target, sys.argv[2:]))
    finally:
        servers.end()
