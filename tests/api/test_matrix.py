"""Every route × {maker, another anonymous, read token, admin}: who may what, and that nobody else learns anything.

The table holds all routes of the app; a route without an entry fails. The maker knows the ids of the launch, and its server's token.
The other one asks for ids that do not exist where the id is the key; where a token is the key he knows the true id, and must get the
answer for one that does not exist. The reader asks with the ids that the lists show to it.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from api.routes import routers
from services.events import Kind, NewEvent
from services.names import new_id, server_id
from services.settings import load
from services.states import LaunchState
from tests.api.front import Front

ADMIN, READER = "the-admin-token-of-the-tests", "the-read-token-of-the-tests"
REPO, CLIENT, LINE = "canary-owner/canary-repository", "198.51.100.77", "canary line of the log"
# Status for the maker, the other one, the reader, the admin.
ALL, NONE = (200, 200, 200, 200), (401, 401, 403, 200)
ID = (200, 404, 404, 200)  # to know the id is the right
LIST = (401, 401, 200, 200)
MATRIX: dict[str, tuple[int, int, int, int]] = {
    "POST /api/v1/launches": (202, 202, 202, 202),
    "GET /api/v1/launches": LIST,
    "GET /api/v1/launches/{launch_id}": ID,
    "DELETE /api/v1/launches/{launch_id}": (202, 404, 404, 202),
    "GET /api/v1/launches/{launch_id}/events": ID,
    "GET /api/v1/builds": LIST,
    "GET /api/v1/builds/{build_id}": ID,
    "GET /api/v1/builds/{build_id}/log": ID,
    "GET /api/v1/builds/{build_id}/events": ID,
    "DELETE /api/v1/builds/{build_id}": (401, 401, 403, 202),
    "GET /api/v1/servers": LIST,
    "DELETE /api/v1/servers/{server_id}": (202, 403, 403, 202),
    "GET /api/v1/stats": ALL,
    "GET /api/v1/links": ALL,
    "GET /api/v1/admin/rules": NONE,
    "POST /api/v1/admin/rules": (401, 401, 403, 201),
    "DELETE /api/v1/admin/rules/{rule_id}": (401, 401, 403, 404),
    "GET /api/v1/admin/pause": NONE, "DELETE /api/v1/admin/pause": NONE,
    "PUT /api/v1/admin/pause": (401, 401, 403, 422),  # without a body: a pause would hold for the rest of the table
    "GET /health": (503, 503, 503, 503),  # there is no hub in this test
    "HEAD /health": (503, 503, 503, 503),
    "GET /livez": ALL, "HEAD /livez": ALL, "GET /readyz": ALL, "HEAD /readyz": ALL, "GET /metrics": ALL,
    "GET /versions": ALL, "HEAD /versions": ALL, "GET /api/repoproviders": ALL, "HEAD /api/repoproviders": ALL,
    "GET /v2/{provider}/{spec:path}": ALL,
    "POST /v2/{provider}/{spec:path}": (303, 303, 303, 303),
    "GET /launches/{launch_id}": ID,
    "GET /launches/{launch_id}/status": ID,
    "POST /launches/{launch_id}/end": (303, 404, 404, 303),
    "GET /builds/{build_id}": ID,
    "GET /gone/{user_name}": ID,
    "GET /ops": ALL,  # the form that asks for the token, or the page
    "POST /ops/login": (403, 403, 403, 303),
    "POST /ops/logout": (303, 303, 303, 303),
    "GET /ops/fresh": NONE,
    "GET /ops/{kind}/{job_id}": NONE,
    "GET /ops/{kind}/{job_id}/{act}": NONE,
    "POST /ops/{kind}/{job_id}/{act}": (401, 401, 403, 303),
    "GET /metrics/{name}": (404, 404, 404, 404),  # no process shows its numbers here in this test
    "GET /static/{name}": ALL, "HEAD /static/{name}": ALL, "GET /badge_logo.svg": ALL, "HEAD /badge_logo.svg": ALL,
    "GET /badge.svg": ALL, "HEAD /badge.svg": ALL, "GET /assets/images/badge.svg": ALL, "HEAD /assets/images/badge.svg": ALL,
    "GET /logo_social.png": ALL, "HEAD /logo_social.png": ALL, "GET /favicon.ico": ALL, "HEAD /favicon.ico": ALL,
    "GET /repo/{user}/{repo}": (302, 302, 302, 302),
    "GET /repo/{user}/{repo}/{path:path}": (302, 302, 302, 302),
    "GET /": ALL,
    "GET /about": ALL,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "POST /api/v1/launches": {"json": {"provider": "gh", "spec": "a/b/HEAD"}},
    "POST /api/v1/admin/rules": {"json": {"kind": "banned", "pattern": "gh/nobody/nothing"}},
    "GET /api/v1/links": {"params": {"link": "a/b"}},
}
FIXED = {"provider": "gh", "kind": "launch", "act": "end", "spec:path": "a/b/HEAD", "name": "dockyard.css", "user": "a", "repo": "b",
         "rule_id": "0123456789abcdef", "path:path": "c"}
CALLERS = ("maker", "other", "reader", "admin")


@dataclass(frozen=True)
class Made:
    """One launch whose server runs, and the keys to it."""

    ids: dict[str, str]
    token: str

    def secrets(self) -> tuple[str, ...]:
        return (*self.ids.values(), self.token, CLIENT, LINE)


async def make(front: Front) -> Made:
    launch, build = await front.building(repo=REPO, spec=f"{REPO}/HEAD", client=CLIENT)
    server, user = server_id(launch, 1), f"canary-{launch[:8]}"
    await front.log(build, 1, [f"{LINE}\n"])
    await front.set_build(build, state="built", repo_url=f"https://github.com/{REPO}")
    await front.process.db.rows(sa.text("UPDATE build SET ended_at = now() WHERE id = :id"), {"id": build})
    await front.process.db.rows(sa.text(
        "INSERT INTO server (id, launch, attempt, image, user_name, state) VALUES (:id, :launch, 1, 'image:x', :user, 'running')"),
        {"id": server, "launch": launch, "user": user})
    await front.move(launch, LaunchState.LAUNCHING, NewEvent(Kind.BUILT, {"image": "image:x", "log_end": 1}), NewEvent(Kind.LAUNCHING))
    url = f"http://localhost:8001/user/{user}/"
    await front.move(launch, LaunchState.READY, NewEvent(Kind.READY, {"url": url, "server": server}), url=url)
    return Made({"launch_id": launch, "build_id": build, "server_id": server, "user_name": user},
                front.services.secret.server_token(server))


@pytest.fixture
async def open_front(settings):
    """A front door with a read token, whose streams end at once."""
    front = load({"DOCKYARD_FRONT_HOLD": "0"}).front
    found = Front(replace(settings, front=front, auth=replace_token(settings.auth)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=found.app, client=("127.0.0.1", 5000)), base_url="http://127.0.0.1:8000") as http:
        yield found, http
    await found.aclose()


def replace_token(auth):
    return auth.model_copy(update={"read_token": SecretStr(READER)})


def unknown() -> dict[str, str]:
    return {"launch_id": new_id(), "build_id": new_id(), "server_id": new_id(), "user_name": "nobody-1"}


def routes(front: Front) -> set[str]:
    return {f"{method} {route.path}" for router in routers(front.settings.front) for route in router.routes for method in route.methods}


async def ask(http: httpx.AsyncClient, route: str, ids: dict[str, str], token: str) -> httpx.Response:
    method, path = route.split(" ", 1)
    for name, value in (FIXED | ids | {"job_id": ids["launch_id"]}).items():
        path = path.replace(f"{{{name}}}", value)
    arguments = dict(ARGUMENTS.get(route, {}))
    if route == "POST /ops/login":
        arguments["data"] = {"token": token}
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with asyncio.timeout(60):
        return await http.request(method, path, headers=headers, **arguments)


def told(answer: httpx.Response, ids: dict[str, str]) -> str:
    """Everything that an answer says, but for the ids that were asked for and what differs each time."""
    text = f"{answer.status_code} {answer.text}"
    for value in ids.values():
        text = text.replace(value, "…")
    return text


def test_every_route_has_its_line(front):
    assert routes(front) == MATRIX.keys()


async def test_who_may_what(open_front):
    front, http = open_front
    leaks = []
    for route, wanted in MATRIX.items():
        made = await make(front)
        listed = {}
        for name, path in (("launch_id", "launches"), ("build_id", "builds"), ("server_id", "servers")):
            items = (await http.get(f"/api/v1/{path}", headers={"authorization": f"Bearer {READER}"})).json()["items"]
            listed[name] = items[0]["id"]
        listed["user_name"] = items[0]["user"]
        by_token = ("_id}" in route and wanted[0] in (401, 403)) or "{server_id}" in route
        keys = {
            "reader": (listed, READER), "other": (made.ids if by_token else unknown(), ""),
            "maker": (made.ids, made.token if "{server_id}" in route else ""), "admin": (made.ids, ADMIN),
        }
        statuses = {}
        for caller in keys:  # those who may least come first: what they change would show
            ids, token = keys[caller]
            answer = await ask(http, route, ids, token)
            statuses[caller] = answer.status_code
            said = f"{answer.headers} {answer.text}" if caller == "reader" else f"{told(answer, ids)} {answer.headers}"
            if caller in ("reader", "other"):
                hidden = (*made.secrets(), *((REPO,) if caller == "other" else ()))
                leaks += [(route, caller, secret) for secret in hidden if secret in said]
            if caller == "other" and by_token:
                strange = unknown()
                assert told(answer, ids) == told(await ask(http, route, strange, ""), strange), route
        assert tuple(statuses[caller] for caller in CALLERS) == wanted, route
    assert leaks == []


async def test_a_stream_is_resumed_by_whoever_knows_its_id(open_front):
    front, http = open_front
    made = await make(front)
    for launch, knows in ((made.ids["launch_id"], True), (new_id(), False)):
        answer = await http.get("/build/gh/a/b/HEAD", headers={"accept": "text/event-stream", "last-event-id": f"{launch}.1.0"})
        assert (made.token in answer.text, LINE in answer.text, '"status_code": 404' in answer.text) == (knows, knows, not knows)
    assert (await http.get("/api/v1/stats")).json()["launches"] == {"ready": 1}
