"""The ops page and who may see it."""

import time
from dataclasses import replace

import httpx
import pytest
import sqlalchemy as sa

from services.policy import rules
from services.settings import load
from services.usecases import jobs
from tests.api.front import Front
from tests.services.db.test_engine import proxy

__all__ = ["proxy"]  # a fixture

TOKEN = "the-admin-token-of-the-tests"
PAGE = {"accept": "text/html"}
REASON = {"code": "build_failed", "message": "pip could not find a package named 'torchh'.", "hint": ""}


async def signed_in(http):
    response = await http.post("/ops/login", data={"token": TOKEN}, headers=PAGE)
    assert (response.status_code, response.headers["location"]) == (303, "/ops")
    return response.headers["set-cookie"]


async def test_a_stranger_sees_a_form_and_nothing_else(http, front):
    launch, build = await front.building()
    page = await http.get("/ops", headers=PAGE)
    assert 'type="password"' in page.text
    assert launch[:12] not in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert (await http.post("/ops/login", data={"token": "wrong"}, headers=PAGE)).status_code == 403
    for method, path in (
        ("GET", "/ops/fresh"), ("GET", f"/ops/launch/{launch}"), ("GET", f"/ops/launch/{launch}/end"),
        ("POST", f"/ops/launch/{launch}/end"), ("POST", "/ops/service/all/pause"),
        ("POST", f"/ops/launch/{launch}/rebuild"), ("POST", f"/ops/build/{build}/end"),
    ):
        assert (await http.request(method, path)).status_code == 401
    assert (await http.get(f"/api/v1/launches/{launch}")).json()["state"] == "building"


async def test_the_token_opens_the_page(http, front):
    launch, build = await front.building()
    failed, broken = await front.building()
    await front.log(broken, 1, ["Collecting torchh\n", "\x1b[31mERROR: none <script>\x1b[0m\n"])
    await front.fail(failed, broken, REASON, 0)
    cookie = await signed_in(http)
    assert TOKEN not in cookie
    for word in ("httponly", "samesite=strict", "path=/ops;"):
        assert word in cookie.lower()
    text = (await http.get("/ops", headers=PAGE)).text
    for known in (launch[:12], "build_failed", "JupyterHub does not answer.", "No worker is running.", "1 failed launch in the last hour"):
        assert known in text
    for secret in (launch, build, TOKEN):
        assert secret not in text
    assert text.count("Published events") == 1
    story = (await http.get(f"/ops/launch/{failed[:12]}", headers=PAGE)).text
    for known in ("torchh", "ERROR: none &lt;script&gt;", "<b>building</b>", f"/ops/build/{broken[:12]}", "127.0.0.1"):
        assert known in story
    assert failed not in story
    for path in ("/ops/launch/ffffffffffff", "/ops/launch/0", f"/ops/server/{launch}", f"/ops/launch/{launch}/explode"):
        assert (await http.get(path)).status_code == 404


async def test_what_acts_asks_first_and_is_done_once(http, front):
    launch, build = await front.building()
    await signed_in(http)
    asked = await http.get(f"/ops/launch/{launch[:12]}/end", headers=PAGE)
    assert "Cancel this launch?" in asked.text
    assert (await http.get(f"/api/v1/launches/{launch}")).json()["state"] == "building"
    done = await http.post(f"/ops/launch/{launch[:12]}/end")
    assert (done.status_code, done.headers["location"]) == (303, f"/ops/launch/{launch[:12]}")
    assert (await http.get(f"/api/v1/launches/{launch}")).json()["state"] == "cancelled"
    assert (await http.post(f"/ops/launch/{launch[:12]}/end")).status_code == 400  # it has ended
    assert (await http.post(f"/ops/build/{build[:12]}/end")).status_code == 303
    (row,) = await front.process.db.rows(sa.text("SELECT target FROM build"))
    assert row.target == "cancelled"
    assert (await http.post(f"/ops/launch/{launch[:12]}/rebuild")).status_code == 303
    rows = await front.process.db.rows(sa.text("SELECT rebuild, build_only, spec FROM launch WHERE rebuild"))
    assert [tuple(row) for row in rows] == [(True, True, "norvig/pytudes/HEAD")]
    await http.post("/ops/logout")
    assert (await http.get("/ops/fresh")).status_code == 401


async def test_bans_and_the_pause_are_rules(http, front):
    launch = await front.launch(client="203.0.113.9", network="203.0.113.0/24", repository="github.com/norvig/pytudes")
    await signed_in(http)
    asked = (await http.get(f"/ops/launch/{launch[:12]}/ban-repository", headers=PAGE)).text
    assert 'value="github.com/norvig/pytudes"' in asked
    for act, form in (
        ("ban-repository", {"pattern": "github.com/norvig/pytudes", "message": "Not here.", "hours": "0.5"}),
        ("ban-network", {"pattern": "203.0.113.0/24"}),
    ):
        assert (await http.post(f"/ops/launch/{launch[:12]}/{act}", data=form)).status_code == 303
    assert (await http.post(f"/ops/launch/{launch[:12]}/ban-network", data={"pattern": "nonsense"})).status_code == 400
    assert (await http.post("/ops/service/all/pause", data={"message": "Back at noon.", "hours": "x"})).status_code == 400
    assert (await http.post("/ops/service/all/pause", data={"message": "Back at noon."})).status_code == 303
    text = (await http.get("/ops", headers=PAGE)).text
    for known in ("Paused: no new launches are accepted.", "Back at noon.", "Accept launches", "203.0.113.0/24", "Not here."):
        assert known in text
    for rule in await rules(front.process.db):
        assert (await http.post("/ops/service/all/lift", data={"rule": rule.id})).status_code == 303
    assert await rules(front.process.db) == []
    assert (await http.post("/ops/service/all/lift", data={"rule": "x"})).status_code == 400


@pytest.mark.parametrize("headers", [
    {"origin": "http://localhost:8001", "sec-fetch-site": "same-site"},  # a user server, where the cookie is sent along
    {"origin": "https://evil.example"}, {"origin": "null"},
])
@pytest.mark.parametrize("origins", ["", "*"])
async def test_no_other_page_acts_with_the_cookie(settings, headers, origins):
    front = Front(replace(settings, front=load({"DOCKYARD_FRONT_ORIGINS": origins}).front))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front.app), base_url="http://127.0.0.1:8000") as http:
        launch, _ = await front.building()
        await signed_in(http)
        assert (await http.post(f"/ops/launch/{launch[:12]}/end", headers=headers)).status_code in (401, 403)
        assert (await http.get(f"/api/v1/launches/{launch}")).json()["state"] == "building"
        assert (await http.post(f"/ops/launch/{launch[:12]}/end", headers={"sec-fetch-site": "same-origin"})).status_code == 303
    await front.aclose()


async def test_only_what_has_changed_is_sent_again(http, front):
    await front.launch()
    await signed_in(http)
    first = (await http.get("/ops/fresh")).json()
    assert set(first) == {"state", "numbers", "trouble", "jobs", "processes", "day"}
    seen = ".".join(section["hash"] for section in first.values())
    again = (await http.get("/ops/fresh", params={"seen": seen})).json()
    assert "jobs" not in again
    launch = await front.launch("another/repository/main")
    changed = (await http.get("/ops/fresh", params={"seen": seen})).json()
    assert launch[:12] in changed["jobs"]["html"]


@pytest.mark.parametrize(("words", "kind", "found"), [
    ("", "launch", {"waits", "builds", "fails"}), ("state:under-way", "launch", {"waits", "builds"}), ("state:failed", "launch", {"fails"}),
    ("TORCHH", "launch", {"fails"}), ("reason:build_failed other", "launch", {"fails"}), ("repo:other/repo", "launch", {"fails"}),
    ("ref:v1.0", "launch", {"waits"}), ("provider:gh state:waiting", "launch", {"waits"}), ("client:203.0.113.9", "launch", {"waits"}),
    ("100%", "launch", set()), ("state:nonsense", "launch", set()), ("'; DROP TABLE launch; --", "launch", set()),
    ("state:building", "build", {"build"}), ("pytudes", "build", {"build", "broken"}), ("state:failed torchh", "build", {"broken"}),
])
async def test_jobs_are_found_by_what_they_are(front, words, kind, found):
    names = {await front.launch("first/one/v1.0", client="203.0.113.9"): "waits"}
    launch, build = await front.building()
    failed, broken = await front.building(spec="other/repo/main")
    await front.fail(failed, broken, REASON, 0)
    names |= {launch: "builds", build: "build", failed: "fails", broken: "broken"}
    rows = (await jobs.search(front.process.db, jobs.Search.of(words, kind))).rows
    assert {names[row["id"]] for row in rows} == found
    by_id = (await jobs.search(front.process.db, jobs.Search.of(launch[:14]))).rows
    assert [row["id"] for row in by_id] == [launch]


async def test_the_page_tells_of_a_dead_database(settings, proxy):
    door, behind = proxy
    front = Front(replace(settings, database=behind.database))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front.app), base_url="http://127.0.0.1:8000") as http:
        await front.launch()
        await signed_in(http)
        assert "Postgres" in (await http.get("/ops", headers=PAGE)).text
        door.refusing, front.process.db._wait = True, 0.3
        door.cut()
        front.inner.state.health._at = -100.0
        text = (await http.get("/ops", headers=PAGE)).text
        assert "Postgres does not answer." in text
        assert "The numbers below are of" in text
        door.refusing = False
    await front.aclose()


async def test_the_cookie_is_no_admin_token_elsewhere(http):
    await signed_in(http)
    value = next(iter(http.cookies.jar)).value
    response = await http.get("/api/v1/launches", headers={"cookie": f"dockyard-ops={value}"})
    assert response.status_code == 401


@pytest.mark.parametrize("value", ["", "x", "99999999999.", "99999999999." + "0" * 64, "1.abc", "٣.x", "9" * 400])
async def test_a_forged_cookie_opens_nothing(http, value):
    response = await http.get("/ops/fresh", headers={"cookie": f"dockyard-ops={value}".encode()})
    assert response.status_code == 401


@pytest.mark.parametrize(("hours", "status"), [(1, 200), (-1, 401)])
async def test_a_cookie_runs_out(http, front, hours, status):
    until = int(time.time()) + hours * 3600
    proof = front.services.secret.derive("ops", f"{until}\n{TOKEN}").hex()
    assert (await http.get("/ops/fresh", headers={"cookie": f"dockyard-ops={until}.{proof}"})).status_code == status
