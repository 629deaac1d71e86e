"""Clients that run under Node.js, as they are published."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from tests.clients.conftest import Drive, Site, repository
from tests.stack import SHA

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clients")]
NODE = ("binderhub-client", "rx-binder", "eventsource")
READY = {
    "phase", "message", "image", "repo_url", "token", "binder_ref_url", "binder_launch_host", "binder_request",
    "binder_persistent_request", "binder_client_ip", "url",
}


def github(script: str) -> str:
    """A link to a commit."""
    return f"gh/{repository(script)}/{SHA}"


def any_git(address: str) -> str:
    """The same, anywhere."""
    return f"git/{quote(address, safe='')}/{SHA}"


async def launches(site: Site, spec: str) -> int:
    return (await site.stack.query("SELECT count(*) AS n FROM launch WHERE spec = :spec", spec=spec.partition("/")[2]))[0].n


def phases(events: list[dict[str, Any]]) -> list[str]:
    """The phases in their order, each once in a row."""
    found = [event["phase"] for event in events if "phase" in event]
    return [phase for n, phase in enumerate(found) if n == 0 or found[n - 1] != phase]


@pytest.mark.parametrize("client", NODE)
async def test_a_link_is_built_and_launched(site: Site, base: str, drive: Drive, client: str) -> None:
    spec = github("lines-3")
    events = await drive(client, base, spec)
    assert phases(events) == ["waiting", "building", "built", "launching", "ready"]
    assert [event["message"] for event in events if event.get("phase") == "building"] == [f"line {n} of 3\n" for n in (1, 2, 3)]
    ready = next(event for event in events if event.get("phase") == "ready")
    assert ready.keys() >= READY
    assert ready["url"].startswith("http://localhost:")
    assert ready["url"].endswith("/")
    assert (ready["binder_launch_host"], ready["binder_request"]) == (base, f"v2/{spec}")
    assert await launches(site, spec) == 1
    assert phases(await drive(client, base, spec)) == ["built", "launching", "ready"]


@pytest.mark.parametrize("client", NODE)
async def test_a_build_that_fails_is_told(site: Site, base: str, drive: Drive, client: str) -> None:
    events = await drive(client, base, github("fail"))
    failed = [event for event in events if event.get("phase") == "failed"]
    assert len(failed) == 1
    assert failed[0]["message"].strip()


@pytest.mark.parametrize("client", NODE)
async def test_a_link_that_is_wrong_is_told(site: Site, base: str, drive: Drive, client: str) -> None:
    events = await drive(client, base, "gh/of/a%20b/HEAD" if client != "rx-binder" else "gh/of/a b/HEAD")
    assert "does not name a repository of GitHub" in events[0]["message"]
    assert events[0]["phase"] == "failed"
    if client == "eventsource":
        assert events[1] == {"pause": 86_400_000}  # ms until it asks again, if nobody closes it


async def test_an_eventsource_that_is_not_closed_launches_once(site: Site, base: str, drive: Drive) -> None:
    spec = github("lines-2")
    events = await drive("eventsource", base, spec)
    assert events[-1] == {"closed": 204}  # what sends a browser's EventSource away for good
    assert phases(events)[-1] == "ready"
    assert await launches(site, spec) == 1


async def test_an_eventsource_goes_on_when_the_api_has_died(site: Site, drive: Drive) -> None:
    address = f"https://example.org/{repository('lines-40+slow-6')}"
    spec = any_git(address)
    following = asyncio.create_task(drive("eventsource", site.addresses["below"], spec))
    await site.stack.until(lambda: site.stack.query("SELECT id FROM build WHERE repo_url = :address AND lines > 5", address=address))
    await site.stack.kill("below")
    site.start_below()
    events = await following
    told = [event["message"] for event in events if event.get("phase") == "building"]
    assert told == [f"line {n} of 40\n" for n in range(1, 41)]
    assert phases(events)[-1] == "ready"
    assert await launches(site, spec) == 1


async def test_the_client_of_binderhub_with_its_options(site: Site, base: str, drive: Drive) -> None:
    spec = github("lines-1")
    events = await drive("binderhub-client", base, spec, buildOnly=True)
    assert events[-1]["phase"] == "ready"
    assert events[-1]["imageName"]
    assert not {"url", "token"} & events[-1].keys()
    (refused,) = await drive("binderhub-client", base, spec, buildToken="x")
    assert (refused["phase"], refused["status_code"], refused["message"]) == ("failed", 403, "Invalid build token\n")
    events = await drive("binderhub-client", base, spec, apiToken="a-token-of-a-hub")
    assert events[-1]["phase"] == "ready"


async def test_a_quoted_address_stays_quoted(site: Site, base: str, drive: Drive) -> None:
    spec = any_git(f"https://example.org/{repository('lines-1')}")
    events = await drive("binderhub-client", base, spec)
    assert (events[-1]["phase"], events[-1]["binder_request"]) == ("ready", f"v2/{spec}")
