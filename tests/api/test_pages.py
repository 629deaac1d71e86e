"""The pages, as they come from the server: they work without a script."""

import json
import re
from html import unescape

import pytest
import sqlalchemy as sa

from services.events import Kind, NewEvent
from services.states import LaunchState

PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TYPED = PAGE | {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}
LINKED = PAGE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
NEIGHBOUR = PAGE | {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}


def config(html):
    """What BinderHub's clients read: the first script in the head."""
    script = re.search(r"<head>.*?<script[^>]*>(.*?)</script>", html, re.DOTALL)[1]
    return json.loads(script.removeprefix("window.pageConfig = ").removesuffix(";"))


async def test_the_home_page_has_what_others_look_for(http):
    response = await http.get("/", headers=TYPED)
    assert "GitHub" in response.text
    assert '<div id="root"></div>' in response.text
    assert config(response.text).keys() >= {"baseUrl", "badgeBaseUrl", "logoUrl", "repoProviders"}
    assert config(response.text)["badgeBaseUrl"] == "http://127.0.0.1:8000/"


async def test_a_page_runs_no_script_but_ours(http):
    response = await http.get("/", headers=TYPED)
    policy = response.headers["content-security-policy"]
    nonce = re.search(r"'nonce-([^']+)'", policy)[1]
    assert f'<script nonce="{nonce}">' in response.text
    assert "unsafe" not in policy
    assert nonce not in (await http.get("/", headers=TYPED)).text
    assert re.findall(r'(?:src|href)="(https?:[^"]*)"', response.text) == []


async def test_the_home_page_leads_on_without_a_script(http):
    response = await http.get("/", params={"link": "https://github.com/norvig/pytudes/blob/main/ipynb/A%20b.ipynb"}, headers=TYPED)
    assert response.status_code == 303
    assert response.headers["location"] == "/v2/gh/norvig/pytudes/main?labpath=ipynb/A%20b.ipynb"


async def test_the_home_page_says_what_is_wrong_with_a_link(http):
    response = await http.get("/", params={"link": "<script>alert(1)</script>"}, headers=TYPED)
    assert response.status_code == 400
    assert 'role="alert">' in response.text
    assert "<script>alert" not in response.text


async def test_the_home_page_shares_without_a_script(http):
    response = await http.get("/", params={"link": "norvig/pytudes", "share": "1"}, headers=TYPED)
    text = unescape(response.text)
    assert "[![Launch on Dockyard](http://127.0.0.1:8000/badge_logo.svg)](http://127.0.0.1:8000/v2/gh/norvig/pytudes/HEAD)" in text


@pytest.mark.parametrize(("headers", "starts"), [(TYPED, True), (LINKED, False), (NEIGHBOUR, False), (PAGE, False)])
async def test_only_a_typed_address_or_our_own_link_starts_at_once(http, headers, starts):
    response = await http.get("/v2/gh/norvig/pytudes/HEAD?urlpath=lab", headers=headers)
    launch = config(response.text)["launch"]
    assert (launch["start"], launch["id"], launch["urlpath"]) == (starts, "", "lab")
    assert 'data-do="launch"' in response.text
    assert (await http.get("/api/v1/stats")).json()["launches"] == {}


async def test_the_launch_page_keeps_a_quoted_spec(http):
    response = await http.get("/v2/gh/norvig/pytudes/feature%2Fx", headers=TYPED)
    assert config(response.text)["launch"]["spec"] == "norvig/pytudes/feature%2Fx"
    assert 'content="GitHub: norvig/pytudes/feature%2Fx"' in response.text


async def test_a_form_launches_without_a_script(http):
    response = await http.post("/v2/gh/norvig/pytudes/HEAD?labpath=a.ipynb", headers=PAGE)
    assert response.status_code == 303
    page = await http.get(response.headers["location"], headers=PAGE)
    assert '<meta http-equiv="refresh"' in page.text
    assert "Waiting for a free worker." in page.text
    launch = response.headers["location"].rpartition("/")[2]
    assert (await http.get(f"/api/v1/launches/{launch}")).json()["urlpath"] == "doc/tree/a.ipynb"
    ended = await http.post(f"/launches/{launch}/end", headers=PAGE)
    assert ended.status_code == 303
    assert "This launch was cancelled." in (await http.get(ended.headers["location"], headers=PAGE)).text


async def test_a_ready_launch_leads_to_its_server(http, front):
    launch, _ = await front.building(options={"urlpath": "doc/tree/a.ipynb"})
    await front.ready(launch)
    token = (await http.get(f"/api/v1/launches/{launch}")).json()["token"]
    page = await http.get(f"/launches/{launch}", headers=PAGE)
    assert f'href="http://localhost:8001/user/norvig-pytudes-abcd1234/doc/tree/a.ipynb?token={token}"' in page.text
    assert "Open JupyterLab" in page.text
    assert 'http-equiv="refresh"' not in page.text


async def test_a_failure_is_told_first_and_escaped(http, front):
    launch, build = await front.building()
    reason = {"code": "build_failed", "message": "pip said <b>no</b>.", "hint": "Ask the maintainer."}
    last = await front.log(build, 1, ["Collecting x\n", "\x1b[31mERROR: no <b>x</b>\x1b[0m\n", "bye\n"])
    await front.fail(launch, build, reason, last)
    page = (await http.get(f"/launches/{launch}", headers=PAGE)).text
    matter = '<pre class="matter" tabindex="0" aria-label="The lines that matter">ERROR: no &lt;b&gt;x&lt;/b&gt;</pre>'
    order = ["pip said &lt;b&gt;no&lt;/b&gt;.", "Ask the maintainer.", matter, 'class="steps"']
    assert sorted(order, key=page.index) == order
    assert matter in (await http.get(f"/builds/{build}", headers=PAGE)).text
    assert f'data-build="{build}"' in page
    assert "icon_failed.svg" in page


async def test_a_server_that_is_gone_can_be_started_anew(http, front):
    launch, _ = await front.building(options={"urlpath": "lab"})
    await front.ready(launch)
    await front.move(launch, LaunchState.STOPPING, NewEvent(Kind.STOPPING), stop_reason="idle")
    await front.move(launch, LaunchState.STOPPED, NewEvent(Kind.STOPPED))
    page = (await http.get(f"/launches/{launch}", headers=PAGE)).text
    assert "because nobody used it" in page
    assert 'action="/v2/gh/norvig/pytudes/HEAD?urlpath=lab"' in page
    assert "?token=" not in page


async def test_the_address_of_a_server_that_is_gone_leads_to_a_new_one(http, front):
    launch, _ = await front.building(options={"urlpath": "lab"})
    await front.ready(launch)
    await front.process.db.rows(
        sa.text("INSERT INTO server (id, launch, attempt, image, user_name, state) VALUES ('s', :launch, 1, 'i', 'norvig-1', 'running')"),
        {"launch": launch})
    await front.move(launch, LaunchState.STOPPING, NewEvent(Kind.STOPPING), stop_reason="idle")
    await front.move(launch, LaunchState.STOPPED, NewEvent(Kind.STOPPED))
    page = (await http.get("/gone/norvig-1", headers=LINKED)).text
    assert "because nobody used it" in page
    assert 'action="/v2/gh/norvig/pytudes/HEAD?urlpath=lab"' in page
    assert launch not in page
    assert (await http.get("/gone/nobody-1", headers=LINKED)).status_code == 404


async def test_a_build_has_a_page(http, front):
    _, build = await front.building()
    page = await http.get(f"/builds/{build}", headers=PAGE)
    assert "norvig" in page.text
    assert config(page.text)["build"]["ended"] is False


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404), (f"/launches/{'0' * 32}", 404), ("/launches/nonsense", 404), (f"/builds/{'0' * 32}", 404),
        ("/v2/gh/onlyone", 400), ("/v2/xyz/a/b", 404), ("/v2/gh", 404), ("/about/", 404),
    ],
)
async def test_what_is_not_there_is_a_page_with_its_status(http, path, status):
    response = await http.get(path, headers=PAGE)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")
    plain = await http.get(path)
    assert plain.headers["content-type"] == "application/problem+json"


async def test_about(http):
    text = (await http.get("/about", headers=PAGE)).text
    assert "for 10 min, and after 6 h in any case" in text
