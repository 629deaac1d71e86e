"""Launches wait for a hub that is away, fails, or has no room, without an attempt used; a bad image is tried by one at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from bench.mock_hub import Behaviour, serve
from bench.mock_hub import Hub as MockHub
from launcher.launching import Launching
from launcher.main import LAUNCH
from services.db import Database
from services.events import Wake
from services.hub.client import Hub
from services.lifecycle import ClaimLoop, Claims, Teller
from services.queue import LAUNCHES, Bell, Listener, Redis
from services.runtimes.fake import make
from services.secrets import Secret
from services.settings import HubSettings, LeaseSettings, RegistrySettings, Settings
from services.usecases import read
from tests.registryserver import door
from tests.services.lifecycle.test_moves import insert


class Place:
    """A launcher that claims, and a hub that can be there or not."""

    def __init__(self, db: Database, path: Path, mock: MockHub, hub: Hub, launching: Launching) -> None:
        self.db, self.path, self.mock, self.hub, self.launching = db, path, mock, hub, launching
        self._server: asyncio.Server | None = None

    async def come(self) -> None:
        self._server = await serve(self.mock, path=str(self.path))

    async def go(self) -> None:
        if self._server is not None:
            self._server.close()
            for link in tuple(self.mock.links):
                link.abort()
            await self._server.wait_closed()
            self.path.unlink(missing_ok=True)
            self._server = None

    async def ask(self, number: int, image: str = "i", repo: str = "r") -> list[str]:
        names = [f"{repo}{n:02}" for n in range(number)]
        for name in names:
            await insert(self.db, name, "building")
        await self.db.rows(sa.text("""
            UPDATE launch SET state = 'launching', lease_owner = NULL, image = :image, repo_url = 'https://e.org/' || :repo,
              resolved_ref = 'c', due = now()
            WHERE id = ANY(:names)
        """).bindparams(sa.bindparam("names", type_=sa.ARRAY(sa.Text)), sa.bindparam("repo", type_=sa.Text)),
            {"image": image, "repo": repo, "names": names})
        return names

    async def states(self) -> dict[tuple[str, int], int]:
        rows = await self.db.rows(sa.text("SELECT state, attempt, count(*) AS n FROM launch GROUP BY state, attempt"))
        return {(row.state, row.attempt): row.n for row in rows}

    async def until(self, states: dict[tuple[str, int], int], seconds: float = 120.0) -> None:
        async with asyncio.timeout(seconds):
            while (found := await self.states()) != states:
                await asyncio.sleep(0.05)
        assert found == states

    async def until_told(self, word: str, number: int) -> None:
        async with asyncio.timeout(120):
            while (await self.db.rows(sa.text(
                    "SELECT count(DISTINCT launch) AS n FROM event WHERE data->>'message' LIKE '%' || :word || '%'"),
                    {"word": word}))[0].n < number:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def place(settings: Settings, path: Path, behaviour: Behaviour, **more: float) -> AsyncIterator[Place]:
    db, redis, mock = Database(settings.database), Redis(settings.redis), MockHub(behaviour)
    found = HubSettings(
        url=f"http+unix://{str(path).replace('/', '%2f')}/hub/api/", public_url="http://localhost:1/", token=SecretStr("t"),
        retry_delay=0.05, restart=0.5, **more)  # type: ignore[arg-type]
    bell = Bell(redis, lambda _: None)
    teller = Teller(db, Wake(redis), bell)
    listener = Listener(redis, LAUNCHES)
    async with Hub(found) as hub, aclosing(make(settings)) as runtime:
        work = Launching(teller, hub, runtime.images, Secret("00" * 32), found, settings.builds)
        loop = ClaimLoop(
            "launch", Claims(db, LAUNCH, "me", 60), listener.ear(), work.work, capacity=hub.throttle.room,
            settings=LeaseSettings(poll=0.1, drain=0.0), batch=64)
        tasks = [asyncio.create_task(one) for one in (loop.run(), hub.watch(), listener.run())]
        here = Place(db, path, mock, hub, work)
        try:
            yield here
        finally:
            loop.stop()
            await tasks[0]
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await here.go()
            for part in (work, teller, teller.wake, bell, redis, db):
                await part.aclose()


async def test_a_hub_that_is_away_uses_no_attempt_and_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    async with place(settings, tmp_path / "hub.sock", Behaviour()) as found:
        await found.ask(20)
        await found.until_told("goes on by itself", 3)
        assert set(await found.states()) == {("launching", 1)}
        assert found.hub.throttle.room() == 0
        found.mock.behaviour = replace(found.mock.behaviour, delay=0.05)
        await found.come()
        await found.until({("ready", 1): 20})
        # Nobody has stormed it: one request asked whether it is back, and each launch made its four.
        assert found.mock.counts["GET "] <= 3
        assert found.mock.counts["POST users"] <= 25


@pytest.mark.parametrize("status", [500, 503])
async def test_a_hub_that_fails_itself_uses_no_attempt(settings: Settings, tmp_path: Path, status: int) -> None:
    async with place(settings, tmp_path / "hub.sock", Behaviour(status=status)) as found:
        await found.come()
        await found.ask(4)
        await found.until_told("goes on by itself", 1)
        assert set(await found.states()) == {("launching", 1)}
        found.mock.behaviour = Behaviour()
        await found.until({("ready", 1): 4})


async def test_a_hub_that_flaps_loses_starts_and_no_attempts(settings: Settings, tmp_path: Path) -> None:
    async with place(settings, tmp_path / "hub.sock", Behaviour(delay=0.3)) as found:
        await found.ask(10)
        for _ in range(4):
            await found.come()
            starts, losses = found.mock.counts["starts"], found.hub.throttle.losses
            async with asyncio.timeout(60):
                while found.mock.counts["starts"] == starts:
                    await asyncio.sleep(0.01)
                await found.go()
                found.mock.users = {name: {} for name in found.mock.users}  # what it was starting it has forgotten
                while found.hub.throttle.losses == losses:  # nobody can know of a restart that nobody has met
                    await asyncio.sleep(0.01)
        await found.come()
        async with asyncio.timeout(120):
            while any(state != "ready" for state, _ in await found.states()):
                await asyncio.sleep(0.05)
        assert {attempt for _, attempt in await found.states()} == {1}


async def test_a_hub_without_room_is_asked_less_and_when_it_says(settings: Settings, tmp_path: Path) -> None:
    async with place(settings, tmp_path / "hub.sock", Behaviour(busy_every=1)) as found:
        await found.come()
        await found.ask(64)
        await found.until_told("as many servers as it can", 3)
        assert found.hub.throttle.limit < 64
        assert set(await found.states()) == {("launching", 1)}
        found.mock.behaviour = Behaviour()
        await found.until({("ready", 1): 64})


async def test_a_bad_image_is_tried_by_one_launch_and_all_get_the_reason(settings: Settings, tmp_path: Path) -> None:
    async with place(settings, tmp_path / "hub.sock", Behaviour(fail_named="bad", delay=0.02), retries=1) as found:
        await found.come()
        (Path(settings.home.path) / "fake" / "images" / "bad").touch()
        await found.db.rows(sa.text("INSERT INTO image (name, held_until) VALUES ('bad', now() + interval '1 day')"))
        await found.ask(30, "bad", "bad")
        await found.ask(5, "good", "good")
        async with asyncio.timeout(60):
            while (await found.states()).get(("failed", 1), 0) + (await found.states()).get(("failed", 2), 0) < 30:
                await asyncio.sleep(0.05)
        await found.until({("failed", 1): 29, ("failed", 2): 1, ("ready", 1): 5})
        assert found.mock.counts["most failing at a time"] == 1
        assert found.mock.counts["starts"] == 5 + 2  # one launch had its two attempts
        rows = await found.db.rows(sa.text("SELECT DISTINCT reason->>'message' AS said FROM launch WHERE state = 'failed'"))
        assert [row.said for row in rows] == ["told to"]


async def test_a_registry_that_refuses_us_hides_no_reason(settings: Settings, tmp_path: Path) -> None:
    async with door() as refusing:
        refusing.status = 401
        settings = replace(settings, registry=RegistrySettings(url=refusing.url))
        async with place(settings, tmp_path / "hub.sock", Behaviour(fail_named="bad"), retries=0) as found:
            await found.come()
            await found.ask(1, "tests/bad:1", "bad")
            await found.until({("failed", 1): 1})
            (row,) = await found.db.rows(sa.text("SELECT reason->>'message' AS said FROM launch"))
            assert row.said == "told to"
            assert refusing.asked


async def test_a_good_image_is_held_until_its_first_server_runs(settings: Settings, tmp_path: Path) -> None:
    async with place(settings, tmp_path / "hub.sock", Behaviour(delay=0.05)) as found:
        await found.db.rows(sa.text("INSERT INTO image (name, held_until) VALUES ('new', now() + interval '1 day')"))
        await found.come()
        await found.ask(30, "new", "new")
        await found.until({("ready", 1): 30})
        assert (await found.db.rows(sa.text("SELECT held_until FROM image")))[0].held_until is None


async def test_who_waits_is_told_its_place(settings: Settings, tmp_path: Path) -> None:
    async with place(settings, tmp_path / "hub.sock", Behaviour()) as found:
        names = await found.ask(12)
        await found.until_told("goes on by itself", 12)
        views = [await read.launch(found.db, name) for name in names]
        assert sorted(view.position for view in views if view.position is not None) == list(range(12))
        assert all("JupyterHub does not answer" in str(view.waits) for view in views)
