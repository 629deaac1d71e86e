"""The ops page in a browser, by keyboard alone: it lives without a reload, finds, shows, asks and acts; a thousand jobs cost little."""

import sqlalchemy as sa

from services.lifecycle import dependencies
from tests.api.live import ADMIN, BROWSER, REASON, chromium, live, page, playwright

__all__ = ["chromium", "live", "page"]  # fixtures
pytestmark = BROWSER
expect = playwright.expect


async def thousand(live):
    """A thousand servers, one launch that waits, one that failed, a dead dependency."""
    db = live.process.db
    await db.rows(sa.text("""
        INSERT INTO launch (id, state, created_at, ready_at, caller, client, provider, spec, repo, ref, seq)
        SELECT md5(n::text), 'ready', now() - n * interval '7 seconds', now(), 'c', 'a', 'gh', 'org/repo/HEAD', 'org/repo', 'HEAD', 3
        FROM generate_series(1, 1000) n"""))
    await dependencies.note(db, "Docker engine", False, "The engine does not answer.")
    failed, broken = await live.building()
    await live.log(broken, 1, ["Collecting torchh\n"])
    await live.fail(failed, broken, REASON, 0)
    await db.rows(sa.text("UPDATE launch SET created_at = now() - interval '11 minutes' WHERE id = :id"), {"id": await live.launch()})


async def test_what_matters_is_above_the_fold_with_a_thousand_jobs(live, page):
    await thousand(live)
    await page.set_viewport_size({"width": 1280, "height": 720})
    await sign_in(live, page)
    for text in ("Docker engine does not answer.", "The oldest launch has waited 11 min to be looked up.", "build_failed", "1000"):
        box = await page.get_by_text(text).first.bounding_box()
        assert box["y"] + box["height"] < 720, text
    assert await page.evaluate("document.documentElement.scrollWidth") == 1280
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    box = await page.get_by_text("Docker engine does not answer.").bounding_box()
    assert box["y"] + box["height"] < 844
    answer = await page.request.get(live.at("/ops/fresh"))
    assert len(await answer.body()) < 60_000


async def test_it_is_used_by_keyboard_and_lives_without_a_reload(live, page):
    await thousand(live)
    await sign_in(live, page)
    loads = []
    page.on("load", lambda _: loads.append(page.url))
    await page.keyboard.press("/")
    await expect(page.get_by_label("Search")).to_be_focused()
    await page.keyboard.type("state:waiting")
    await expect(page.locator("#s-jobs tbody tr")).to_have_count(1)
    new = await live.launch("another/repository/main")
    await expect(page.locator("#s-jobs tbody tr")).to_have_count(2)  # by itself
    await expect(page.get_by_label("Search")).to_be_focused()
    link = page.locator(f"[data-key='{new[:12]}'] a")
    await link.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#drawer h2")).to_be_focused()
    await page.get_by_role("link", name="Cancel the launch").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#asking h2")).to_have_text("Cancel this launch?")
    await page.keyboard.press("Escape")
    await expect(page.locator("#asking")).to_be_hidden()
    await page.get_by_role("link", name="Cancel the launch").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#asking h2")).to_be_focused()  # the question of before is still in the page, hidden
    await page.locator("#asking button").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#drawer .state")).to_have_text("cancelled")
    await page.keyboard.press("Escape")
    await expect(page.locator("#s-jobs tbody tr")).to_have_count(1)
    assert loads == []


async def sign_in(live, page):
    await page.goto(live.at(f"/ops#token={ADMIN}"))  # as `up` prints it
    await page.get_by_role("button", name="Sign out").wait_for()
    assert ADMIN not in page.url
    assert ADMIN not in await page.content()
