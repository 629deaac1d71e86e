"""Secrets planted as canaries through all processes are found in no row, no log and no page."""

import re
import signal
from pathlib import Path
from urllib.parse import quote

import pytest

from services.names import server_id
from services.settings import Settings
from tests.stack import SHA, Stack, spec

HUB, ADMIN, READER, HEADER, WRONG, PASSWORD, FORGE = (
    f"canary-{word}-5f3a" for word in ("hub", "admin", "reader", "header", "wrong", "password", "forge"))
ADDRESS = f"https://someone:{PASSWORD}@example.org/lines-1"


@pytest.fixture
async def stack(settings: Settings, tmp_path: Path):
    async with Stack(
        settings, tmp_path, DOCKYARD_HUB_TOKEN=HUB, DOCKYARD_AUTH_ADMIN_TOKEN=ADMIN, DOCKYARD_AUTH_READ_TOKEN=READER,
        DOCKYARD_PROVIDERS_GITHUB_TOKEN=FORGE, DOCKYARD_LOG_LEVEL="debug", DOCKYARD_LOG_FORMAT="json", DOCKYARD_LEASES_SECONDS="60",
    ) as found:
        await found.up()
        yield found


async def rows(stack: Stack) -> str:
    tables = await stack.query("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'")
    assert len(tables) >= 7
    return "\n".join([
        str(row.line) for table in tables for row in await stack.query(f'SELECT row_to_json(t)::text AS line FROM "{table.name}" t')])


async def pages(stack: Stack, paths: list[str], headers: dict[str, str]) -> str:
    found = []
    for path in paths:
        answer = await stack.client.get(path, headers={"accept": "text/html", **headers})
        found.append(f"{path} {answer.headers}\n{answer.text}")
    return "\n".join(found)


async def test_no_secret_is_kept_logged_or_shown(stack: Stack) -> None:
    client, path = stack.client, spec("lines-3+slow-0.2+canary")
    build_token = re.search(r'"buildToken": "([^"]+)"', (await client.get(f"/v2/{path}", headers={"accept": "text/html"})).text)[1]
    done = await stack.launch(f"{path}?build_token={build_token}")
    server_token, launch = done[-1]["token"], done[-1]["id"].split(".")[0]
    build = next(event["build"] for event in done if event.get("kind") == "building")
    failed = await stack.launch(spec("fail+canary"))
    assert failed[-1]["phase"] == "failed"
    body = {"provider": "git", "spec": path.removeprefix("git/")}
    made = await client.post("/api/v1/launches", json=body, headers={"authorization": f"Bearer {HEADER}", "idempotency-key": HEADER})
    assert made.status_code == 202
    told = []
    for refused in (
        await client.post("/api/v1/launches", json={"link": ADDRESS}),
        await client.post("/api/v1/launches", json={"provider": "git", "spec": f"{quote(ADDRESS, safe='')}/{SHA}"}),
        await client.get("/api/v1/links", params={"link": ADDRESS}),
        await client.get(f"/build/git/{quote(ADDRESS, safe='')}/{SHA}", headers={"accept": "text/event-stream"}),
        await client.get(f"/v2/git/{quote(ADDRESS, safe='')}/{SHA}", headers={"accept": "text/html"}),
        await client.get("/api/v1/launches", headers={"authorization": f"Bearer {WRONG}"}),
        await client.post("/ops/login", data={"token": WRONG}),
        await client.get(f"/build/{path}", params={"build_token": WRONG}, headers={"accept": "text/event-stream"}),
    ):
        assert refused.status_code >= 400 or '"failed"' in refused.text
        told.append(refused.text)
    public = ["/", "/about", "/nothing", "/metrics", "/api/v1/stats", "/health", "/versions", "/api/v1/openapi.json", f"/builds/{build}",
              f"/api/v1/builds/{build}", f"/api/v1/builds/{build}/log", f"/api/v1/builds/{build}/events",
              f"/launches/{failed[-1]['id'].split('.')[0]}"]
    lists = ["/api/v1/launches", "/api/v1/builds", "/api/v1/servers", "/ops", "/ops/part"]
    shown = await pages(stack, public, {}) + await pages(stack, lists, {"authorization": f"Bearer {ADMIN}"})
    shown += await pages(stack, lists[:3], {"authorization": f"Bearer {READER}"})
    holders = await pages(stack, [f"/launches/{launch}", f"/api/v1/launches/{launch}"], {})
    assert server_token in holders  # the one place where it is shown: to whoever holds the launch
    opens = {"authorization": f"Bearer {server_token}"}
    assert (await client.delete(f"/api/v1/servers/{server_id(launch, 1)}", headers=opens)).status_code == 202
    for name in ("api", "worker", "launcher"):
        await stack.kill(name, signal.SIGTERM)
    kept = {
        "rows": await rows(stack), "pages": shown, "refusals": "\n".join(told),
        "logs": "\n".join(file.read_text(errors="replace") for file in stack.directory.glob("*.log")),
    }
    secrets = {
        "server": server_token, "hub": HUB, "admin": ADMIN, "reader": READER, "header": HEADER, "wrong": WRONG, "password": PASSWORD,
        "forge": FORGE, "build": build_token, "database": stack.settings.database.url.get_secret_value().split("@")[0].rpartition(":")[2],
        "key": "00" * 32,
    }
    assert [(name, place) for name, secret in secrets.items() for place, text in kept.items() if secret in text] == []
    assert [name for name in ("hub", "admin", "reader", "header", "password", "forge", "build", "key") if secrets[name] in holders] == []
    assert launch in kept["rows"]  # and what was looked through is not empty
    assert len(kept["logs"]) > 200
