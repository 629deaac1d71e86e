"""Script clients: they take what they are given, and write addresses in their own ways."""

import asyncio
import json
import shutil
import subprocess
import urllib.request
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.clients.conftest import Site, repository
from tests.stack import SHA

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clients")]


async def lines(base: str, path: str, **headers: str) -> list[dict[str, Any]]:
    """What `iter_lines` of a script gives it."""
    found = []
    async with httpx.AsyncClient(timeout=60) as http, http.stream("GET", f"{base}{path}", headers=headers) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                found.append(json.loads(line.split(":", 1)[1]))  # noqa: PERF401
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
async def test_curl(site: Site, base: str) -> None:
    """As repo2docker-action and many a workflow file do it: no Accept but `*/*`, and the output is searched."""
    command = ["curl", "-sS", "--max-time", "60", f"{base}build/gh/{repository('lines-2')}/{SHA}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert '"phase": "ready"' in done.stdout or '"phase":"ready"' in done.stdout


async def test_tljh_repo2docker(site: Site, base: str) -> None:
    """`Builder` of 3.0.21: httpx, no Accept, the whole repository quoted, a hub's token; it ends on `built` or `ready`."""
    quoted = quote(f"https://example.org/{repository('lines-2')}", safe="")
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("GET", f"{base}build/git/{quoted}/{SHA}?build_only=true", headers={"Authorization": "Bearer x"}) as response,
    ):
        log = ""
        async for line in response.aiter_lines():
            if not line.startswith("data:"):
                continue
            event = json.loads(line.removeprefix("data:"))
            if event["phase"] in ("ready", "built"):
                break
            log += event["message"] if event["phase"] != "unknown" else ""
    assert event["imageName"]
    assert "line 2 of 2\n" in log


async def test_the_example_of_binderhub(site: Site, base: str) -> None:
    """`examples/binder-api.py`: reads line by line in a thread, prints what `message` says, and stops at `ready`."""
    request = urllib.request.Request(f"{base}build/gh/{repository('lines-2')}/{SHA}", headers={"Accept": "text/event-stream"})

    def run() -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=60) as response:
            for raw in response:
                line = raw.decode("utf8").rstrip()
                if line.startswith("data:"):
                    event: dict[str, Any] = json.loads(line.split(":", 1)[1])
                    assert event.get("message", "").rstrip() or event["phase"] == "unknown"
                    if event["phase"] == "ready":
                        return event
        raise AssertionError("it never was ready")

    ready = await asyncio.to_thread(run)
    assert ready["url"]
    assert ready["token"]


@pytest.mark.parametrize("accept", ["text/event-stream", "text/event-stream, */*", "text/event-stream; q=0.9", "*/*", "application/json"])
async def test_every_accept_of_a_program_is_taken(site: Site, accept: str) -> None:
    events = await lines(site.addresses["root"], f"build/gh/{repository('lines-1')}/{SHA}?build_only=true", accept=accept)
    assert events[-1]["phase"] == "ready"


async def test_a_page_load_is_led_to_the_launch_page(site: Site, base: str) -> None:
    async with httpx.AsyncClient(timeout=120) as http:
        answer = await http.get(f"{base}build/gh/a/b/feature%2Fx?urlpath=lab%2Ftree", headers={"accept": "text/html,*/*"})
    assert answer.headers["location"] == f"{base[base.index('/', 8):]}v2/gh/a/b/feature%2Fx?urlpath=lab%2Ftree"


@pytest.mark.parametrize(("sent", "ref"), [("feature%2Fx", "feature/x"), ("feature/x", "feature/x"), ("a%2520b", "a%20b")])
async def test_slashes_in_refs(site: Site, base: str, sent: str, ref: str) -> None:
    path = f"gh/{repository('lines-1')}/{sent}"
    events = await lines(base, f"build/{path}", accept="text/event-stream")
    assert (events[-1]["phase"], events[-1]["binder_request"]) == ("ready", f"v2/{path}")
    assert events[-1]["binder_persistent_request"].endswith(f"/{SHA}")
    (row,) = await site.stack.query("SELECT ref FROM launch WHERE spec = :spec", spec=path.removeprefix("gh/"))
    assert row.ref == ref


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_doi_has_slashes(site: Site, base: str, end: str) -> None:
    """As OSF, Zenodo and Dataverse write their buttons."""
    async with httpx.AsyncClient(timeout=120) as http:
        page = await http.get(f"{base}v2/zenodo/10.5281/zenodo.3242074{end}", headers={"sec-fetch-site": "none"})
    assert (page.status_code, "Zenodo DOI: 10.5281/zenodo.3242074" in page.text) == (200, True)
    events = await lines(base, f"build/zenodo/10.5281/zenodo.3242074{end}", accept="text/event-stream")
    assert (events[-1]["phase"], events[-1]["binder_request"]) == ("ready", "v2/zenodo/10.5281/zenodo.3242074")


async def test_a_urlpath_that_is_quoted_twice_is_kept(site: Site, base: str) -> None:
    """nbgitpuller's links: the path to open holds a whole query."""
    urlpath = "git-pull?repo=https%3A%2F%2Fgithub.com%2Fo%2Fcontent&urlpath=lab%2Ftree%2Fcontent%2Fa%20b.ipynb&branch=main"
    async with httpx.AsyncClient(timeout=120) as http:
        page = await http.get(f"{base}v2/gh/o/env/HEAD?urlpath={quote(urlpath, safe='')}")
        config = json.loads(page.text.partition("window.pageConfig = ")[2].partition(";</script>")[0])
        made = await http.post(f"{base}api/v1/launches", json={key: config["launch"][key] for key in ("provider", "spec", "urlpath")})
    assert config["launch"]["urlpath"] == made.json()["urlpath"] == urlpath


async def test_versions_as_myst_reads_them(site: Site, base: str) -> None:
    """From a page of another origin; the key `binderhub` is what it looks for."""
    async with httpx.AsyncClient(timeout=120) as http:
        answer = await http.get(f"{base}versions", headers={"origin": "https://book.example", "sec-fetch-site": "cross-site"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "binderhub" in answer.json()


async def test_versions_and_health_as_a_federation_reads_them(site: Site) -> None:
    """Every member says the same of its version, as a whole; the sum of checks is the status."""
    async with httpx.AsyncClient(timeout=120) as http:
        versions = [(await http.get(f"{base}versions")).text for base in site.addresses.values()]
        async with asyncio.timeout(120):  # each check has three seconds, and a bad answer is looked for anew
            while (health := await http.get(f"{site.addresses['root']}health")).status_code != 200:
                await asyncio.sleep(0.5)
    assert versions[0] == versions[1]
    assert health.json()["ok"] is True
    assert all({"service", "ok"} <= check.keys() for check in health.json()["checks"])
