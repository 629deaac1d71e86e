"""Limits, rules and the pause through the doors of two api processes on one database.

All tests share the processes; each comes from addresses of its own, which a trusted proxy on this machine says. Nothing works on the
launches until a test starts a worker, so what is accepted stays under way and can be counted.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bench.ports import free_port
from tests.stack import ADMIN, ROOT, Stack, own_settings, spec

pytestmark = pytest.mark.xdist_group("policy")
TOKEN = {"authorization": f"Bearer {ADMIN}"}
LIMITS = {
    "DOCKYARD_FRONT_TRUSTED_PROXIES": "127.0.0.1", "DOCKYARD_LIMITS_SERVERS_TOTAL": "100", "DOCKYARD_LIMITS_OPEN_PER_CLIENT": "10",
    "DOCKYARD_LIMITS_OPEN_PER_NETWORK": "15", "DOCKYARD_LIMITS_LAUNCHES_PER_HOUR": "30", "DOCKYARD_LIMITS_OPEN_TOTAL": "500",
}


class House(Stack):
    """Two front doors."""

    doors: tuple[httpx.AsyncClient, ...]

    async def ask(self, door: int, client: str, link: str = "", **more: Any) -> httpx.Response:
        """A launch over REST, of a repository of its own unless one is named."""
        provider, _, rest = (link or f"gh/org/of-{secrets.token_hex(4)}/HEAD").partition("/")
        headers = {"x-forwarded-for": client, **more.pop("headers", {})}
        return await self.doors[door].post("/api/v1/launches", json={"provider": provider, "spec": rest, **more}, headers=headers)

    async def many(self, number: int, clients: list[str], link: str = "") -> list[httpx.Response]:
        """At once, by turns of clients and doors."""
        return list(await asyncio.gather(*(self.ask(n % 2, clients[n // 2 % len(clients)], link) for n in range(number))))

    async def event(self, door: int, client: str, link: str) -> tuple[dict[str, Any], httpx.Headers]:
        """The first event of `/build`."""
        async with self.doors[door].stream("GET", f"/build/{link}", headers={"x-forwarded-for": client}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    return json.loads(line[6:]), answer.headers
        raise AssertionError("nothing was said")

    async def admin(self, method: str, path: str, door: int = 0, **body: Any) -> httpx.Response:
        answer = await self.doors[door].request(method, f"/api/v1/admin/{path}", headers=TOKEN, json=body or None)
        assert answer.status_code < 300, answer.text
        return answer


def refusals(answers: list[httpx.Response]) -> list[dict[str, Any]]:
    assert {answer.status_code for answer in answers} <= {202, 429}, [answer.text for answer in answers]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(int(answer.headers["retry-after"]) == answer.json()["retry_after"] > 0 for answer in refused)
    return [answer.json() for answer in refused]


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with own_settings(tmp_path_factory.mktemp("policy"), 61) as (settings, directory), House(settings, directory, **LIMITS) as found:
        ports = (found.port, free_port())
        found.start("api")
        found.start("second", "api", DOCKYARD_FRONT_PORT=str(ports[1]))
        found.doors = tuple(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) for port in ports)

        async def answer() -> bool:
            try:
                return all([(await door.get("/livez")).status_code < 500 for door in found.doors])
            except httpx.TransportError:
                return False

        await found.until(answer)
        yield found
        for door in found.doors:
            await door.aclose()


async def test_what_is_under_way_is_counted_over_all_doors(house: House) -> None:
    found = refusals(await house.many(40, ["203.0.113.1"]))
    assert (len(found), {one["limit"] for one in found}) == (30, {"open_per_client"})
    assert len(refusals(await house.many(40, ["203.0.113.2", "203.0.113.3"]))) == 35  # the network has room for five more
    assert refusals(await house.many(8, ["203.0.114.1"])) == []
    said, headers = await house.event(1, "203.0.113.1", "gh/org/name/HEAD")
    assert said == {
        "phase": "failed", "status_code": 429, "retry_after": 15, "limit": "open_per_client",
        "message": "There are 10 launches of your address under way. Wait until one of them is ready.\n",
    }
    assert headers["retry-after"] == "15"
    counted = await house.query("SELECT client, count(*) AS n FROM launch WHERE network = '203.0.113.0/24' GROUP BY client")
    assert sorted(row.n for row in counted)[-1] == 10
    assert sum(row.n for row in counted) == 15


async def test_rates_are_counted_over_all_doors_and_what_is_refused_costs_nothing(house: House) -> None:
    begun = 0
    while begun < 30:
        answers = await house.many(10, ["2001:db8::1"])
        ids = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        begun += len(ids)
        assert ids
        for answer in await asyncio.gather(*(house.doors[0].delete(f"/api/v1/launches/{one}") for one in ids)):
            assert answer.status_code == 202
    assert begun == 30
    (found,) = refusals([await house.ask(0, "2001:db8::1")])
    assert found["limit"] == "launches_per_hour"
    assert 3000 < found["retry_after"] <= 3600
    said, _ = await house.event(1, "2001:db8::1", "gh/org/name/HEAD")
    assert said["status_code"] == 429
    assert said["message"].startswith(f"Rate limit exceeded. Try again in {said['retry_after']} seconds.")
    # Another address of the same /64, and its headers as BinderHub's.
    said, headers = await house.event(0, "2001:db8::2", "gh/org/name/HEAD")
    assert (said["phase"], headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("waiting", "30", "29")


async def test_a_repository_has_one_quota_whichever_way_leads_to_it(house: House) -> None:
    rule = (await house.admin("POST", "rules", kind="quota", pattern="github.com/org/small", quota=3)).json()
    links = ("gh/Org/small/HEAD", "git/https%3A%2F%2Fgithub.com%2Forg%2Fsmall.git/main")

    async def known() -> bool:
        return (await house.doors[1].get("/api/v1/admin/rules", headers=TOKEN)).json()["items"][0]["id"] == rule["id"]

    await house.until(known)
    while (refused := refusals([await house.ask(1, "198.51.100.1", links[0])])) == []:
        made = await house.query("SELECT count(*) AS n FROM launch WHERE repository = 'github.com/org/small'")
        assert made[0].n <= 10, "the second door did not hear of the rule"
        await asyncio.sleep(1 if made[0].n > 3 else 0)  # it looks by itself every five seconds
    assert refused[0]["limit"] == "servers_per_repository"
    assert "Too many users running github.com/org/small! Try again soon." in refused[0]["detail"]
    assert len(refusals([await house.ask(n % 2, f"198.51.{n}.1", links[n % 2]) for n in range(6)])) == 6
    await house.admin("DELETE", f"rules/{rule['id']}")


async def test_bans_reach_every_door_and_what_waits(house: House) -> None:
    name = f"slow-0+of-{secrets.token_hex(4)}"
    waiting = (await house.ask(0, "192.0.2.1", spec(name))).json()["id"]
    spec_rule = (await house.admin("POST", "rules", kind="banned", pattern=f"example.org/{name}", message="It mines coins.")).json()
    net_rule = (await house.admin("POST", "rules", door=1, kind="network", pattern="192.0.2.128/25", seconds=600)).json()

    async def banned() -> bool:
        answers = [await house.ask(door, "192.0.2.2", spec(name)) for door in (0, 1)]
        answers += [await house.ask(door, "192.0.2.200") for door in (0, 1)]
        return [answer.status_code for answer in answers] == [403] * 4

    await house.until(banned)
    said, _ = await house.event(1, "192.0.2.2", spec(name))
    assert said == {"phase": "failed", "message": "It mines coins.\n"}
    said, _ = await house.event(0, "192.0.2.200", "gh/org/name/HEAD")
    assert said == {"phase": "failed", "status_code": 403, "message": "Requests from 192.0.2.128/25 are not allowed\n"}
    house.start("worker")

    async def ended() -> Any:
        return await house.query("SELECT reason FROM launch WHERE id = :id AND state = 'failed'", id=waiting)

    (row,) = await house.until(ended)
    assert (row.reason["code"], row.reason["message"]) == ("refused", "It mines coins.")
    await house.kill("worker")
    for rule in (spec_rule, net_rule):
        await house.admin("DELETE", f"rules/{rule['id']}")
    listed = (await house.admin("GET", "rules")).json()["items"]
    assert not {spec_rule["id"], net_rule["id"]} & {rule["id"] for rule in listed}


async def test_a_pause_is_told_everywhere_and_ends(house: House) -> None:
    key = {"idempotency-key": secrets.token_hex(16)}
    before = await house.ask(0, "192.0.3.1", "gh/org/name/HEAD", headers=key)
    await house.admin("PUT", "pause", message="Back at 14:00.", seconds=900)

    async def paused() -> bool:
        return (await house.ask(1, "192.0.3.1")).status_code == 503

    await house.until(paused)
    refused = await house.ask(1, "192.0.3.1")
    assert (refused.json()["code"], refused.json()["detail"]) == ("paused", "Back at 14:00.")
    assert 800 < int(refused.headers["retry-after"]) <= 900
    said, headers = await house.event(1, "192.0.3.1", "gh/org/name/HEAD")
    assert (said["phase"], said["status_code"], said["message"]) == ("failed", 503, "Back at 14:00.\n")
    assert int(headers["retry-after"]) == said["retry_after"]
    # What was asked for before is still answered, and the admin may look whether all is well again.
    assert (await house.ask(1, "192.0.3.1", "gh/org/name/HEAD", headers=key)).json()["id"] == before.json()["id"]
    assert (await house.ask(1, "192.0.3.1", headers=TOKEN)).status_code == 202
    for path in ("/", "/v2/gh/org/name/HEAD"):
        assert "Back at 14:00." in (await house.doors[1].get(path)).text
    assert (await house.admin("DELETE", "pause")).json()["paused"] is False

    async def open_() -> bool:
        return (await house.ask(1, "192.0.3.1")).status_code == 202

    await house.until(open_)
    assert "Back at 14:00." not in (await house.doors[0].get("/")).text


async def test_an_idempotency_key_is_a_secret_of_its_caller(house: House) -> None:
    link, key = "gh/org/name/HEAD", {"idempotency-key": secrets.token_hex(16)}
    for weak in ("1", "nightly", "a" * 40, "0000000000000001"):
        refused = await house.ask(0, "192.0.4.1", link, headers={"idempotency-key": weak})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    first = await house.ask(0, "192.0.4.1", link, headers=key)
    again = await house.ask(1, "192.0.4.1", link, headers=key)
    assert (first.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = await house.ask(1, "192.0.4.1", link, headers=key, build_only=True)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert first.json()["id"] not in other.text
    elsewhere = await house.ask(1, "192.0.5.1", link, headers=key)
    assert elsewhere.json()["id"] != first.json()["id"]
    admin = [await house.ask(n, f"192.0.{6 + n}.1", link, headers={"idempotency-key": "nightly", **TOKEN}) for n in (0, 1)]
    assert admin[0].json()["id"] == admin[1].json()["id"]


async def test_the_commands_do_the_same(house: House) -> None:
    async def command(*words: str, token: str = ADMIN) -> tuple[int, str, str]:
        done = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "DOCKYARD_URL": str(house.doors[1].base_url), "DOCKYARD_TOKEN": token})
        out, error = await done.communicate()
        return done.returncode or 0, out.decode().strip(), error.decode().strip()

    status, rule, _ = await command("rules", "add", "banned", "gh/mine/*", "--message", "It mines.", "--for", "2h")
    assert status == 0
    status, shown, _ = await command("rules", "list")
    (line,) = [line for line in shown.splitlines() if line.startswith(rule)]
    assert line.startswith(f"{rule}  banned  gh/mine/*  until 20")
    assert line.endswith("It mines.")
    assert await command("rules", "remove", rule) == (0, "", "")
    assert (await command("rules", "remove", rule))[0] == 1
    status, _, said = await command("rules", "add", "banned", "^(?!gh/ours/)")
    assert (status, "RE2" in said, len(said.splitlines())) == (1, True, 1)
    status, _, said = await command("pause", token="wrong")
    assert (status, said.endswith("This token does not have the admin scope.")) == (1, True)
    assert (await command("pause", "Soon back.", "--for", "5m"))[1].startswith("Paused until 20")
    assert (await house.admin("GET", "pause", door=1)).json()["message"] == "Soon back."
    assert (await command("resume"))[:2] == (0, "Launches are accepted.")
