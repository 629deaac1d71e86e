"""`/api/v1/launches`: asking for one, looking at it, lists, ending it, and what is refused."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import datetime

import httpx
import pytest
import sqlalchemy as sa

from services.events import Kind, NewEvent
from services.names import new_id
from services.settings import load
from services.states import LaunchState
from tests.api.front import Front

ADMIN = {"authorization": "Bearer the-admin-token-of-the-tests"}


async def test_a_launch_is_accepted_and_shown_to_its_holder(http):
    response = await http.post("/api/v1/launches", json={"provider": "gh", "spec": "norvig/pytudes/HEAD", "urlpath": "/lab"})
    assert response.status_code == 202
    body = response.json()
    assert (body["state"], body["repo"], body["ref"], body["urlpath"]) == ("waiting", "norvig/pytudes", "HEAD", "lab")
    assert body["position"] == 1
    assert response.headers["location"] == f"/api/v1/launches/{body['id']}"
    assert (await http.get(response.headers["location"])).json()["id"] == body["id"]


async def test_an_idempotency_key_gives_the_same_launch(http):
    made = [
        (await http.post("/api/v1/launches", json={"provider": "gh", "spec": "a/b/HEAD"}, headers={"idempotency-key": key})).json()
        for key in (*2 * [new_id()], new_id())
    ]
    assert made[0]["id"] == made[1]["id"] != made[2]["id"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid"),
        ({"provider": "gh"}, 422, "invalid"),
        ({"link": "x", "provider": "gh", "spec": "a/b/c"}, 422, "invalid"),
        ({"provider": "xyz", "spec": "a/b/c"}, 404, "unknown_provider"),
        ({"provider": "gh", "spec": "a/b"}, 400, "bad_spec"),
        ({"provider": "gh", "spec": "a/b/c", "colour": "red"}, 422, "invalid"),
        ({"provider": "gh", "spec": "a/b/c", "env": {"LD_PRELOAD": "/x"}}, 400, "bad_request"),
        ({"provider": "gh", "spec": "a/b/c", "env": {"PARAM_A": "x", "PARAMS": "x"}}, 400, "bad_request"),
        ({"provider": "gh", "spec": "a/b/c", "urlpath": "\x00"}, 422, "invalid"),
        ({"provider": "gh", "spec": "a/b/c", "rebuild": 1}, 422, "invalid"),
        ({"provider": "gh", "spec": "a/b/c\x00"}, 422, "invalid"),
        ({"provider": "gh", "spec": "a/b/c", "env": {"1X": "/x"}}, 422, "invalid"),
        ({"provider": "gh", "spec": "a/b/c", "urlpath": "\ud800"}, 422, "invalid"),
        ({"link": "https://github.com/a/\udfff"}, 422, "invalid"),
    ],
)
async def test_what_cannot_be_understood_is_a_problem(http, body, status, code):
    response = await http.post("/api/v1/launches", content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]


@pytest.mark.parametrize("launch", ["0" * 32, "nonsense", "..%2f..%2fhealth"])
async def test_an_unknown_launch_is_not_found(http, launch):
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        response = await http.request(method, f"/api/v1/launches/{launch}{rest}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_lists_need_the_admin_token_and_show_no_tokens(http, front):
    launch = await front.launch()
    await front.move(launch, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    await front.ready(launch)
    for headers, status in (({}, 401), ({"authorization": "Bearer wrong"}, 403), (ADMIN, 200)):
        response = await http.get("/api/v1/launches", headers=headers)
        assert response.status_code == status
    (shown,) = response.json()["items"]
    assert (shown["id"], shown["state"], shown["token"]) == (launch, "ready", None)
    held = (await http.get(f"/api/v1/launches/{launch}")).json()
    assert len(held["token"]) == 22
    assert held["url"].startswith("http://localhost:8001/user/")


async def test_lists_are_filtered_and_paged(http, front):
    made = [await front.launch(f"owner/repo{number % 2}/HEAD") for number in range(5)]
    seen, cursor = [], None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await http.get("/api/v1/launches", params=query, headers=ADMIN)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]
    some = (await http.get("/api/v1/launches", params={"repo": "owner/repo1"}, headers=ADMIN)).json()["items"]
    assert len(some) == 2
    assert (await http.get("/api/v1/launches", params={"cursor": "nonsense"}, headers=ADMIN)).status_code == 400


@pytest.mark.parametrize("path", [
    "launches?repo=%00", "launches?state=%00", "builds?image=%00", "servers?state=%00",
    "launches?cursor=MjAyNi0wMS0wMVQwMDowMDowMCswMDowMCAA", "launches?limit=0", "launches?limit=x",
])
async def test_queries_that_nobody_means_are_refused(http, path):
    assert (await http.get(f"/api/v1/{path}", headers=ADMIN)).status_code in (400, 422)


async def test_a_launch_is_cancelled_by_its_holder(http, front):
    launch, _ = await front.building()
    response = await http.delete(f"/api/v1/launches/{launch}")
    assert (response.status_code, response.json()["state"]) == (202, "cancelled")
    assert (await http.delete(f"/api/v1/launches/{launch}")).status_code == 202


async def test_timings_and_reasons_are_told(http, front):
    launch, build = await front.building()
    last = await front.log(build, 1, ["Collecting torchh\n", "ERROR: No matching distribution found for torchh\n"])
    reason = {"code": "build_failed", "message": "pip could not find a package named 'torchh'.", "hint": "Did you mean torch?"}
    await front.fail(launch, build, reason, last)
    body = (await http.get(f"/api/v1/launches/{launch}")).json()
    assert (body["state"], body["reason"], body["build"]) == ("failed", reason, build)
    assert set(body["timings"]) >= {"waiting", "resolving", "building"}


async def test_what_a_launch_waits_for_is_told_and_nobody_knows_for_how_long(http, front):
    for _ in range(5):  # by which others are reckoned
        before, _ = await front.building()
        await front.move(before, LaunchState.LAUNCHING, NewEvent(Kind.LAUNCHING))
        await front.move(before, LaunchState.READY, NewEvent(Kind.READY, {"url": "http://x/", "server": "0" * 32}), url="http://x/")
    launch, _ = await front.building()
    await front.move(launch, LaunchState.LAUNCHING, NewEvent(Kind.LAUNCHING))
    told = [(await http.get(f"/api/v1/launches/{launch}")).json()]
    for data in ({"message": "The hub sleeps.", "waits": True}, {"message": "It is awake."}):
        await front.move(launch, None, NewEvent(Kind.PROGRESS, data))
        told.append((await http.get(f"/api/v1/launches/{launch}")).json())
    assert [body["waits"] for body in told] == [None, "The hub sleeps.", None]
    assert [body["estimate_seconds"] is None for body in told] == [False, True, False]


async def test_steps_are_told_with_the_push(http, front):
    launch, build = await front.building()
    await front.process.db.rows(sa.text("""
        UPDATE build SET created_at = now() - interval '40 s', started_at = now() - interval '39 s', state = 'pushing', marks =
          jsonb_build_object('fetching', extract(epoch FROM now()) - 39, 'building', extract(epoch FROM now()) - 35,
                             'pushing', extract(epoch FROM now()) - 5)
    """))
    await front.process.db.rows(sa.text("UPDATE event SET at = at - interval '30 s'"))
    body = (await http.get(f"/api/v1/launches/{launch}")).json()
    steps = body["steps"]
    assert (list(steps), body["build_state"], body["estimate_seconds"]) == (["resolve", "build", "push"], "pushing", None)
    assert steps["push"] >= 5
    assert steps["build"] + steps["push"] == pytest.approx(body["timings"]["building"], abs=0.01)
    timings = (await http.get(f"/api/v1/builds/{build}")).json()["timings"]
    assert {name: round(timings[name]) for name in ("queued", "fetching", "building")} == {"queued": 1, "fetching": 4, "building": 30}
    assert timings["pushing"] >= steps["push"]


async def test_a_finished_stream_is_told_once(http, front):
    launch, build = await front.building()
    last = await front.log(build, 1, ["one\n", "two\n"])
    await front.fail(launch, build, {"code": "build_failed", "message": "It failed.", "hint": ""}, last)
    response = await http.get(f"/api/v1/launches/{launch}/events", headers={"last-event-id": f"{launch}.4.2"})
    assert response.status_code == 204


async def test_a_stream_tells_its_end_though_the_log_before_it_has_expired(http, front):
    front.fanout._hold = 0  # nobody is kept waiting for old clients here
    launch, build = await front.building()
    await front.fail(launch, build, {"code": "x", "message": "It failed.", "hint": ""}, await front.log(build, 1, ["one\n", "two\n"]))
    await front.process.db.rows(sa.text("DELETE FROM log_chunk"))
    async with asyncio.timeout(60):
        told = (await http.get(f"/api/v1/launches/{launch}/events")).text
    assert re.findall(r"id: \S+?\.(\S+)", told) == ["1.0", "2.0", "3.0", "4.2"]
    assert '"reason": {"code": "x"' in told


async def test_a_stream_goes_on_to_the_end_of_the_server_if_asked_to(http, front):
    front.fanout._hold = 0  # nobody is kept waiting for old clients here
    launch, _ = await front.building()
    await front.ready(launch)
    path = f"/api/v1/launches/{launch}/events"
    reading = asyncio.create_task(http.get(path, params={"until": "stopped"}))
    short = (await http.get(path)).text
    await front.server(launch, seconds=100)
    at = await front.end_soon(launch, seconds=100)
    body = (await http.get(f"/api/v1/launches/{launch}")).json()
    assert (body["ends_soon"], body["ends_why"], datetime.fromisoformat(body["ends_at"]).timestamp()) == (True, "idle", pytest.approx(at))
    await front.move(launch, LaunchState.STOPPING, NewEvent(Kind.STOPPING), stop_reason="idle")
    await front.move(launch, LaunchState.STOPPED, NewEvent(Kind.STOPPED))
    await front.fanout._look()
    whole = (await reading).text
    kinds = [json.loads(line[6:])["kind"] for line in whole.splitlines() if line.startswith("data: ")]
    assert kinds == ["waiting", "resolving", "building", "launching", "ready", "ending", "stopping", "stopped"]
    assert f'"phase": "ready", "message": "It will be stopped.\\n", "ends_at": {at}' in whole
    assert whole.startswith(short.rstrip("\n"))
    assert (await http.get(path, params={"until": "stopped"}, headers={"last-event-id": f"{launch}.8.0"})).status_code == 204
    assert (await http.get(path, headers={"last-event-id": f"{launch}.5.0"})).status_code == 204
    assert (await http.get(path, params={"until": "tomorrow"})).status_code == 422
    assert front.fanout.feeds() == []


async def test_one_network_does_not_take_all_places_of_streams(settings):
    limits = load({"DOCKYARD_LIMITS_STREAMS_PER_NETWORK": "2"}).limits
    front = Front(replace(settings, limits=limits))
    launch, build = await front.building()
    paths = [f"/api/v1/launches/{launch}/events", f"/api/v1/builds/{build}/events", f"/build/gh/{launch}"]

    def client(address):
        transport = httpx.ASGITransport(app=front.app, client=(address, 5000))
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")

    async with asyncio.timeout(60), client("203.0.113.1") as one, client("203.0.113.9") as neighbour, client("198.51.100.1") as other:
        streams = [asyncio.create_task(one.get(path)) for path in paths[:2]]
        while front.fanout.networks["203.0.113.0/24"] < 2:
            await asyncio.sleep(0.01)
        refused = [await neighbour.get(path, headers={"last-event-id": f"{launch}.1.0"}) for path in paths]
        streams.append(asyncio.create_task(other.get(paths[0])))
        while front.fanout.watchers < 3:
            await asyncio.sleep(0.01)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    assert [answer.status_code for answer in refused] == [429, 429, 200]
    assert {answer.json()["limit"] for answer in refused[:2]} == {"streams_per_network"}
    assert '"limit": "streams_per_network"' in refused[2].text
    assert (front.fanout.watchers, dict(front.fanout.networks)) == (0, {})
    await front.aclose()


async def test_a_question_without_a_body_leaves_no_feed(http, front):
    launch = await front.launch()
    assert (await http.head("/build/gh/norvig/pytudes/HEAD", headers={"last-event-id": f"{launch}.1.0"})).status_code == 200
    assert front.fanout.feeds() == []


async def test_allowed_variables_are_kept(settings):
    front = Front(replace(settings, front=load({"DOCKYARD_FRONT_ENV": "COURSE,PARAM_*"}).front))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=front.app), base_url="http://127.0.0.1:8000") as http:
        env = {"COURSE": "1", "PARAM_A": "b"}
        made = await http.post("/api/v1/launches", json={"provider": "gh", "spec": "a/b/c", "env": env})
        refused = await http.post("/api/v1/launches", json={"provider": "gh", "spec": "a/b/c", "env": env | {"COURSES": "x"}})
    rows = await front.process.db.rows(sa.text("SELECT options FROM launch"))
    await front.aclose()
    assert (made.status_code, refused.status_code) == (202, 400)
    assert [row.options for row in rows] == [{"env": env}]
