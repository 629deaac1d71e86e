"""The warning before the end of a server, on its launch page in a real browser."""

import re
from datetime import datetime, timedelta, timezone

from services.events import Kind, NewEvent
from services.states import LaunchState
from tests.api.live import BROWSER, chromium, live, playwright

__all__ = ["chromium", "live"]  # fixtures
pytestmark = BROWSER


async def test_a_page_that_is_looked_at_warns_before_the_end_of_its_server(live, chromium):
    launch, _ = await live.building()
    await live.ready(launch, live.at("/"))
    await live.server(launch, seconds=629)
    context = await chromium.new_context(locale="de-DE", timezone_id="Asia/Tokyo", reduced_motion="reduce")
    await context.add_init_script(f"sessionStorage.setItem('opened {launch}', '1')")
    page = await context.new_page()
    async with page.expect_response(lambda answer: answer.url.endswith("/events?until=stopped")):
        await page.goto(live.at(f"/launches/{launch}"))
    await playwright.expect(page.locator("#now")).to_have_text("Your server is running.")
    await playwright.expect(page.locator("#end")).to_have_text("The server will be stopped in 10 minutes unless somebody uses it.")
    await playwright.expect(page.locator("#live")).to_have_text("Your server is running.")  # nothing that counts is read out
    at = await live.end_soon(launch, seconds=110)
    tokyo = datetime.fromtimestamp(at, timezone(timedelta(hours=9)))
    told = f"This server will be stopped at {tokyo:%H:%M}, because nobody uses it."
    await playwright.expect(page.locator(".ending .why")).to_have_text(told)
    await playwright.expect(page.locator("#live")).to_have_text(f"Your server is running. {told} Open JupyterLab to keep it.")
    await playwright.expect(page.locator("#left")).to_have_text(re.compile(r"^(1 min \d\d|\d+) s$"))
    await playwright.expect(page).to_have_title("Ending soon · norvig/pytudes")
    await page.get_by_role("link", name="Open JupyterLab").focus()
    await live.use(launch)  # somebody uses it after all
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await playwright.expect(page.locator(".ending")).to_have_count(0)
    await playwright.expect(page).to_have_title("Ready · norvig/pytudes")
    await playwright.expect(page.get_by_role("link", name="Open JupyterLab")).to_be_focused()
    await live.move(launch, LaunchState.STOPPING, NewEvent(Kind.STOPPING), stop_reason="idle")
    await live.move(launch, LaunchState.STOPPED, NewEvent(Kind.STOPPED))
    await playwright.expect(page.locator("#now")).to_have_text("The server was stopped because nobody used it.")
    await playwright.expect(page.get_by_role("button", name="Start a new one")).to_be_visible()
    await context.close()
