"""What the sweeps over servers end, tell and leave alone, on real rows and a hub that starts nothing."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from aiohttp import web

from bench.mock_hub import Behaviour
from bench.mock_hub import Hub as MockHub
from reaper.deeds import Deeds
from reaper.servers import Servers
from services.hub.activity import Servers as Asked
from services.hub.client import Hub
from services.lifecycle import Teller
from services.secrets import Secret
from services.settings import HubSettings, ReaperSettings
from tests.reaper.ground import serve, targets, user

SECRET = Secret("00" * 32)


class Sweeper:
    """The sweeps over servers for some settings."""

    def __init__(self, teller: Teller, url: str, deeds: Deeds | None = None, **values: float) -> None:
        self.settings = ReaperSettings(**{"idle": 600, "max_age": 7200, "unopened": 0, **values})
        self.hub, self.asked = Hub(HubSettings(url=url, token="t")), Asked("")
        self.servers = Servers(teller, self.hub, self.asked, SECRET, self.settings, deeds)

    async def __aenter__(self) -> Servers:
        return self.servers

    async def __aexit__(self, *_: object) -> None:
        await self.hub.close()
        await self.asked.__aexit__()


async def test_idle_old_and_lost_servers_end_each_for_its_reason(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    for name, ready, used in (("fresh", 60, 60), ("idle", 700, 650), ("used", 900, 30), ("old", 9000, 5), ("lost", 60, None)):
        await serve(teller, name, ready=ready)
        if name != "lost":
            user(hub, name, used=used)
    async with Sweeper(teller, url) as servers:
        assert await servers.activity() == {"lost": 1}
        found = await servers.cull()
    assert {key: value for key, value in found.items() if value} == {"idle": 1, "max_age": 1}
    assert await targets(teller) == {"idle": "idle", "old": "max-age", "lost": "lost"}


async def test_zero_means_never(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    await serve(teller, "old", ready=1e6)
    user(hub, "old")
    async with Sweeper(teller, url, idle=0, max_age=0) as servers:
        await servers.activity()
        assert not any((await servers.cull()).values())
    assert await targets(teller) == {}


async def test_whoever_used_a_server_since_the_hub_was_read_keeps_it(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    await serve(teller, "one", ready=700)
    user(hub, "one", used=690)
    async with Sweeper(teller, url) as servers:
        await servers.activity()
        user(hub, "one", used=1)
        assert not any((await servers.cull()).values())
        assert hub.counts["GET users"] >= 2  # all of them once, then this one alone


async def test_a_hub_that_fails_puts_idle_servers_off_and_no_others(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    await serve(teller, "idle", ready=700)
    await serve(teller, "old", ready=9000)
    hub.behaviour = Behaviour(status=503)
    async with Sweeper(teller, url) as servers:
        found = await servers.cull()
    assert {key: value for key, value in found.items() if value} == {"max_age": 1, "put_off": 1}
    assert await targets(teller) == {"old": "max-age"}


async def test_a_batch_ends_at_a_time(teller: Teller, mock: tuple[MockHub, str]) -> None:
    _, url = mock
    for number in range(5):
        await serve(teller, f"old{number}", ready=9000 + number)
    async with Sweeper(teller, url, batch=2) as servers:
        assert (await servers.cull())["max_age"] == 2
        assert await targets(teller) == {"old4": "max-age", "old3": "max-age"}


async def test_the_end_is_told_once_before_it_comes_and_taken_back_by_use(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    await serve(teller, "one", ready=550)
    user(hub, "one", used=540)
    async with Sweeper(teller, url, warn=120) as servers:
        await servers.activity()
        assert [(await servers.cull())["warned"] for _ in range(2)] == [1, 0]
        (event,) = await teller.db.rows(sa.text("SELECT data, state FROM event WHERE kind = 'ending'"))
        (row,) = await teller.db.rows(sa.text("SELECT ends_at, ends_why, now() AS now FROM server"))
        data = event.data if isinstance(event.data, dict) else json.loads(event.data)
        assert (event.state, data["why"], row.ends_why) == ("ready", "idle", "idle")
        assert data["ends_at"] == pytest.approx(row.ends_at.timestamp(), abs=1)
        assert timedelta(0) < row.ends_at - row.now < timedelta(seconds=120)
        user(hub, "one", used=1)
        await servers.activity()
        await servers.cull()
        (row,) = await teller.db.rows(sa.text("SELECT ends_at, warned_at, now() AS now FROM server"))
        assert row.ends_at - row.now > timedelta(seconds=500)
        assert row.warned_at is None
    assert await targets(teller) == {}


class Jupyter:
    """A user's server as far as the reaper asks it."""

    def __init__(self) -> None:
        self.busy, self.last, self.tokens = False, datetime(2026, 1, 1, tzinfo=UTC), set[str]()

    async def __aenter__(self) -> "Jupyter":
        app = web.Application()
        app.router.add_get("/user/one/api/status", self._status)
        app.router.add_get("/user/one/api/kernels", self._kernels)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/user/one/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    async def _status(self, request: web.Request) -> web.Response:
        self.tokens.add(request.headers["authorization"])
        return web.json_response({"last_activity": self.last.isoformat().replace("+00:00", "Z"), "kernels": 1})

    async def _kernels(self, request: web.Request) -> web.Response:
        return web.json_response([{"execution_state": "busy" if self.busy else "idle"}, 7])


async def test_a_kernel_that_computes_keeps_a_server_that_no_browser_uses(teller: Teller, mock: tuple[MockHub, str]) -> None:
    hub, url = mock
    async with Jupyter() as jupyter, Sweeper(teller, url) as servers:
        await serve(teller, "one", ready=700, url=jupyter.url)
        user(hub, "one", used=650)
        jupyter.busy = True
        assert (await servers.cull())["used_after_all"] == 1
        assert not any((await servers.cull()).values())  # and it is not asked again
        assert jupyter.tokens == {f"token {SECRET.server_token('one')}"}
        jupyter.busy = False
        await teller.db.rows(sa.text("UPDATE server SET last_activity = NULL"))
        assert (await servers.cull())["idle"] == 1


@pytest.mark.parametrize(("opened", "watched", "ends"), [(None, None, True), (None, 10, False), (100, None, False)])
async def test_a_server_that_nobody_has_opened_ends_early(
    teller: Teller, mock: tuple[MockHub, str], opened: float | None, watched: float | None, ends: bool,
) -> None:
    hub, url = mock
    async with Jupyter() as jupyter, Sweeper(teller, url, unopened=300, warn=0) as servers:
        if opened:  # the hub does not know it, the server does
            jupyter.last = datetime.now(UTC) - timedelta(seconds=opened)
        await serve(teller, "one", ready=400, watched=watched, url=jupyter.url)
        user(hub, "one", used=401)
        await servers.cull()
    assert await targets(teller) == ({"one": "unopened"} if ends else {})


async def test_a_dry_run_says_what_it_would_do(teller: Teller, mock: tuple[MockHub, str]) -> None:
    _, url = mock
    await serve(teller, "old", ready=9000)
    async with Sweeper(teller, url) as servers:
        await servers._reckon()
    deeds = Deeds(dry=True)
    async with Sweeper(teller, url, deeds) as servers:
        assert (await servers.cull())["max_age"] == 1
        assert (await servers.activity())["lost"] == 1
    assert deeds.told == ["stop the server old (max-age)", "stop the server old (lost)"]
    assert await targets(teller) == {}
