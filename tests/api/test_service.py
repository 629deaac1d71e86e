"""Versions, health, metrics, badges, static files, addresses of earlier years."""

import asyncio
import gzip
from dataclasses import replace

import httpx
import pytest
import sqlalchemy as sa

from api.static_files import files
from services.events import Kind, NewEvent
from services.lifecycle import dependencies
from services.observe import Metrics
from services.settings import load
from services.states import LaunchState
from tests.api.front import Front


async def test_versions_has_the_key_that_clients_look_for(http):
    response = await http.get("/versions", headers={"origin": "https://book.example"})
    assert {"binderhub", "dockyard", "builder_info"} <= response.json().keys()
    assert response.headers["access-control-allow-origin"] == "*"


async def test_health_names_what_is_missing(http):
    response = await http.get("/health")
    checks = {check["service"]: check for check in response.json()["checks"]}
    assert response.status_code == 503  # there is no hub in this test
    assert response.json()["ok"] is False
    assert (checks["Database"]["ok"], checks["JupyterHub API"]["ok"], checks["Redis"]["ok"]) == (True, False, True)
    assert checks["Redis"]["_ignore_failure"] is True
    assert (await http.head("/health")).content == b""
    assert (await http.post("/health")).status_code == 405


async def test_those_who_wait_for_a_bad_answer_share_it(http, front):
    asked = 0

    async def nobody():
        nonlocal asked
        asked += 1
        await all_wait.wait()
        raise OSError

    health, all_wait = front.inner.state.health, asyncio.Event()
    health._ask_hub = nobody
    asking = asyncio.gather(*(http.get("/health") for _ in range(30)))
    async with asyncio.timeout(60):
        while len(health._lock._waiters or ()) < 29:
            await asyncio.sleep(0.01)
    all_wait.set()
    assert {answer.status_code for answer in await asking} == {503}
    assert asked == 1
    assert (await http.get("/health")).status_code == 503
    assert asked == 2  # who asks later is told what is true then


async def test_probes(http):
    assert (await http.get("/livez")).status_code == 200
    assert (await http.get("/readyz")).status_code == 200


async def test_repoproviders_has_the_shape_of_binderhub(http):
    entry, *others = (await http.get("/api/repoproviders")).json()
    assert [entry["id"], others[0]["id"]] == ["gh", "gist"]
    assert entry.keys() >= {"displayName", "id", "spec", "repo", "ref"}


async def test_metrics_have_the_names_of_binderhub(http, front):
    launch = (await http.post("/api/v1/launches", json={"provider": "gh", "spec": "a/b/HEAD"})).json()["id"]
    steps = (
        (LaunchState.RESOLVING, NewEvent(Kind.RESOLVING)), (LaunchState.LAUNCHING, NewEvent(Kind.LAUNCHING)),
        (LaunchState.READY, NewEvent(Kind.READY, {"url": "http://x/", "server": "0" * 32})),
    )
    for state, event in steps:
        await front.move(launch, state, event)
    await front.launch()
    await dependencies.note(front.process.db, "Registry", False, "No answer.")
    for host in ("a.example", "b.example"):
        await dependencies.note(front.process.db, f"forge {host}", False, "No answer.")
    await counted(front)
    text = (await http.get("/metrics")).text
    for line in (
        'binderhub_launch_count_total{provider="gh",status="success"} 1.0',
        'binderhub_launch_time_seconds_count{retries="0",status="success"} 1.0',
        'binderhub_launch_time_seconds_bucket{le="+Inf",retries="0",status="success"} 1.0',
        'dockyard_launches_total{outcome="ready",provider="gh",reason=""} 1.0', 'dockyard_launch_step_seconds_count{step="waiting"} 1.0',
        "binderhub_inprogress_launches 1.0", "binderhub_inprogress_builds 0.0", "dockyard_redis_up 1.0", "dockyard_database_up 1.0",
        'dockyard_queue{queue="launches"} 1.0', 'dockyard_under_way{state="running"} 1.0', "dockyard_counts_here 1.0",
        'dockyard_dependency_up{name="Registry"} 0.0',
    ):
        assert line in text.splitlines(), line
    assert "process_resident_memory_bytes" in text
    assert "a/b" not in text
    assert "a.example" not in text  # what somebody has launched from


async def test_outcomes_are_told_by_one_replica_and_outlive_it(front, settings):
    launch = await front.launch()
    await front.move(launch, LaunchState.CANCELLED, NewEvent(Kind.CANCELLED))
    await counted(front)
    other = Front(settings)
    line = 'dockyard_launches_total{outcome="cancelled",provider="gh",reason=""} 1.0'
    texts = []
    for one in (front, other):
        await one.services.watch.turn()
        texts.append((await one.services.metrics.text(""))[0].decode())
    assert [line in text for text in texts] == [True, False]
    await front.services.watch.aclose()
    await other.services.watch.turn()
    assert line in (await other.services.metrics.text(""))[0].decode()
    await other.aclose()


async def test_the_numbers_of_another_process_are_passed_on(settings, tmp_path):
    found = replace(settings, observe=load({"DOCKYARD_OBSERVE_METRICS_ADDRESS": f"unix:{tmp_path}"}).observe)
    worker, front = Metrics("worker"), Front(found)
    serving = asyncio.create_task(worker.serve(found.observe))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front.app), base_url="http://127.0.0.1:8000") as http:
        async with asyncio.timeout(60):
            while (answer := await http.get("/metrics/worker")).status_code == 404:
                await asyncio.sleep(0.01)
        assert "process_resident_memory_bytes" in answer.text
        for name in ("launcher", "worker.sock", "%2e%2e%2fworker"):
            assert (await http.get(f"/metrics/{name}")).status_code == 404
    serving.cancel()
    await front.aclose()


async def counted(front):
    """Let the counts come to the last event. Transactions of other tests may hold it back for a moment."""
    async with asyncio.timeout(60):
        while True:
            await front.services.watch.turn()
            rest = await front.process.db.rows(sa.text(
                "SELECT count(*) AS n FROM event e, outlet o WHERE (e.xact, e.launch, e.seq) > (o.xact, o.launch, o.seq)"))
            if rest[0].n == 0:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("path", "kind", "size"),
    [
        ("/badge_logo.svg", "image/svg+xml", b'width="109" height="20"'), ("/badge.svg", "image/svg+xml", b'width="92" height="20"'),
        ("/assets/images/badge.svg", "image/svg+xml", b'width="92"'), ("/logo_social.png", "image/png", b"\x89PNG"),
        ("/favicon.ico", "image/svg+xml", b"<svg"),
    ],
)
async def test_pictures_may_be_embedded_anywhere(http, path, kind, size):
    response = await http.get(path)
    assert response.headers["content-type"] == kind
    assert size in response.content
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    head = await http.head(path)
    assert (head.status_code, head.content) == (200, b"")


async def test_static_files_are_kept_by_the_hash_of_their_content(http):
    name = "dockyard.css"
    file = files()[name]
    now = await http.get(f"/static/{name}?v={file.hash}")
    assert "immutable" in now.headers["cache-control"]
    assert now.content == file.body
    raw = await http.get(f"/static/{name}", headers={"accept-encoding": "identity"})
    assert "immutable" not in raw.headers["cache-control"]
    again = await http.get(f"/static/{name}", headers={"if-none-match": now.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for wrong in ("nothing.js", "..%2fapp.py", "%2e%2e/app.py"):
        assert (await http.get(f"/static/{wrong}")).status_code == 404


def test_pages_are_small():
    packed = {name: len(gzip.compress(file.body, 9)) for name, file in files().items()}
    for page in (("home.js",), ("launch.js",)):
        assert sum(packed[name] for name in ("dockyard.css", "icon.svg", *page)) < 12_000


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/repo/user/repo", "/v2/gh/user/repo/HEAD"),
        ("/repo/user/repo/notebooks/a%20b.ipynb", "/v2/gh/user/repo/HEAD?urlpath=%2Fnotebooks%2Fa%2520b.ipynb"),
    ],
)
async def test_addresses_of_earlier_years_lead_on(http, path, location):
    response = await http.get(path)
    assert (response.status_code, response.headers["location"]) == (302, location)


async def test_addresses_of_earlier_years_keep_the_base_path(settings):
    front = Front(replace(settings, front=load({"DOCKYARD_FRONT_BASE_URL": "/binder/"}).front))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=front.app), base_url="http://127.0.0.1:8000") as http:
        response = await http.get("/binder/repo/user/repo")
        home = await http.get("/binder/")
    await front.aclose()
    assert response.headers["location"] == "/binder/v2/gh/user/repo/HEAD"
    assert 'href="/binder/static/dockyard.css' in home.text


async def test_openapi_describes_what_there_is(http):
    document = (await http.get("/api/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    assert paths.keys() >= {
        "/api/v1/launches", "/api/v1/launches/{launch_id}", "/api/v1/launches/{launch_id}/events", "/api/v1/builds",
        "/api/v1/builds/{build_id}", "/api/v1/builds/{build_id}/log", "/api/v1/builds/{build_id}/events", "/api/v1/servers",
        "/api/v1/servers/{server_id}", "/api/v1/stats", "/health", "/versions",
    }
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation["summary"], f"{method} {path}"
            assert operation["description"], f"{method} {path}"


async def test_errors_are_described_as_problems(http):
    document = (await http.get("/api/v1/openapi.json")).json()
    operation = document["paths"]["/api/v1/launches"]["post"]
    assert all(list(operation["responses"][status]["content"]) == ["application/problem+json"] for status in ("400", "422", "429"))
    assert document["paths"]["/api/v1/launches"]["get"]["security"] == [{"admin": []}]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert document["servers"] == [{"url": "/"}]


async def test_without_pages_only_the_apis_answer(settings):
    front = Front(replace(settings, front=load({"DOCKYARD_FRONT_API_ONLY": "true"}).front))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=front.app), base_url="http://127.0.0.1:8000") as http:
        found = {path: (await http.get(path)).status_code for path in ("/", "/about", "/v2/gh/a/b/HEAD", "/versions", "/api/v1/stats")}
    await front.aclose()
    assert found == {"/": 404, "/about": 404, "/v2/gh/a/b/HEAD": 404, "/versions": 200, "/api/v1/stats": 200}


async def test_build_answers_in_events_whatever_happens(http):
    response = await http.post("/build/gh/a/b/HEAD")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert '"status_code": 405' in response.text
    assert response.text.startswith("retry: 86400000\ndata: ")  # whoever does not close asks again in a day
