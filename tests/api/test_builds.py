"""`/api/v1/builds`, their logs and streams, and `/api/v1/servers`."""

import asyncio
import json

import sqlalchemy as sa

from api.streams import watcher
from services.names import server_id

ADMIN = {"authorization": "Bearer the-admin-token-of-the-tests"}


async def test_a_build_and_its_log_stay_readable(http, front):
    launch, build = await front.building()
    last = await front.log(build, 1, ["one\n", "tw"], "fetching")
    last = await front.log(build, last + 1, ["o\n", "\u2713 \x1b[31mred\x1b[0m\n"])
    reason = {"code": "build_failed", "message": "It failed.", "hint": ""}
    await front.fail(launch, build, reason, last)
    body = (await http.get(f"/api/v1/builds/{build}")).json()
    assert (body["state"], body["lines"], body["reason"]) == ("failed", 4, reason)
    log = await http.get(f"/api/v1/builds/{build}/log")
    assert log.headers["content-type"] == "text/plain; charset=utf-8"
    assert log.text == "one\ntwo\n\u2713 \x1b[31mred\x1b[0m\n"


async def test_the_stream_of_a_build_is_resumed(http, front):
    launch, build = await front.building()
    last = await front.log(build, 1, ["one\n", "two\n", "three\n"])
    await front.fail(launch, build, {"code": "build_failed", "message": "It failed.", "hint": ""}, last)
    whole = (await http.get(f"/api/v1/builds/{build}/events")).text
    found = [json.loads(line[6:]) for line in whole.splitlines() if line.startswith("data: ")]
    assert [event["message"] for event in found] == ["one\n", "two\n", "three\n", ""]
    assert (found[-1]["state"], found[-1]["phase"]) == ("failed", "failed")
    rest = (await http.get(f"/api/v1/builds/{build}/events", headers={"last-event-id": f"{build}.0.2"})).text
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == [f"id: {build}.0.3", f"id: {build}.1.3"]
    again = await http.get(f"/api/v1/builds/{build}/events", headers={"last-event-id": f"{build}.1.3"})
    assert again.status_code == 204


async def test_a_reader_of_a_log_as_text_who_does_not_read_is_dropped(front, monkeypatch):
    monkeypatch.setattr(watcher, "PATIENCE", 0.05)
    _, build = await front.building()
    await front.log(build, 1, ["one\n"])
    never, sent = asyncio.Event(), []

    async def send(message):
        if message.get("body"):
            await never.wait()  # the other side takes nothing any more
        sent.append(message["type"])

    async def receive():
        await never.wait()

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "GET", "path": f"/api/v1/builds/{build}/log",
        "raw_path": b"", "query_string": b"", "headers": [(b"host", b"127.0.0.1:8000")], "scheme": "http", "http_version": "1.1",
        "client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8000), "root_path": "",
    }
    async with asyncio.timeout(60):
        await front.app(scope, receive, send)
    assert sent == ["http.response.start"]


async def test_lists_and_cancelling_need_the_admin_token(http, front):
    _, build = await front.building()
    for method, path in (("GET", "/api/v1/builds"), ("DELETE", f"/api/v1/builds/{build}"), ("GET", "/api/v1/servers")):
        assert (await http.request(method, path)).status_code == 401
        assert (await http.request(method, path, headers={"authorization": "Bearer no"})).status_code == 403
    assert (await http.get("/api/v1/builds", headers=ADMIN)).json()["items"][0]["id"] == build
    assert (await http.delete(f"/api/v1/builds/{build}", headers=ADMIN)).status_code == 202


async def test_a_server_is_stopped_by_whoever_can_open_it(http, front):
    launch, _ = await front.building()
    await front.ready(launch)
    server = server_id(launch, 1)
    await front.process.db.rows(
        sa.text("INSERT INTO server (id, launch, attempt, image, user_name, state) VALUES (:id, :launch, 1, 'i:x', 'u-1', 'running')"),
        {"id": server, "launch": launch})
    (shown,) = (await http.get("/api/v1/servers", headers=ADMIN)).json()["items"]
    assert (shown["id"], shown["launch"], shown["user"]) == (server, launch, "u-1")
    token = (await http.get(f"/api/v1/launches/{launch}")).json()["token"]
    for headers, status in (({}, 403), ({"authorization": "Bearer x"}, 403), ({"authorization": f"token {token}"}, 202)):
        assert (await http.delete(f"/api/v1/servers/{server}", headers=headers)).status_code == status
    assert (await http.get(f"/api/v1/launches/{launch}")).json()["target"] == "stopped"
    assert (await http.delete(f"/api/v1/servers/{'0' * 32}", headers=ADMIN)).status_code == 404


async def test_stats_count_what_has_not_ended(http, front):
    await front.launch()
    launch, build = await front.building()
    await front.fail(launch, build, {"code": "x", "message": "x", "hint": ""}, 0)
    stats = (await http.get("/api/v1/stats")).json()
    assert (stats["launches"], stats["builds"]) == ({"waiting": 1}, {})
    assert stats["oldest_waiting"] >= 0
    assert stats["version"] == "0.1.0"
