"""Published events: nothing is lost while a sink is away, what is dropped is counted, and nothing secret goes out."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from aiohttp import web
from prometheus_client import CollectorRegistry

from reaper.outlets import Outlet, OutletNumbers
from services.db import Database
from services.errors import Unreachable
from services.events import Kind, NewEvent
from services.events.sinks import File, Sink, Webhook
from services.lifecycle.moves import Move, move_launches
from services.settings import EventSettings, load
from services.states import LaunchState

S = LaunchState
LAUNCH = "0123456789abcdef0123456789abcdef"
READY = {"url": "http://localhost:8001/user/x/", "server": "s" * 32, "binder_client_ip": "192.0.2.7", "image": "i:1"}


class Receiver:
    """A webhook that refuses until it is told otherwise."""

    def __init__(self) -> None:
        self.status = 204
        self.got: list[dict] = []
        self.headers: list[str] = []

    async def __aenter__(self) -> "Receiver":
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/hook"
        return self

    async def _take(self, request: web.Request) -> web.Response:
        self.headers.append(request.headers.get("authorization", ""))
        if self.status < 300:
            self.got += await request.json()
        return web.Response(status=self.status, headers={"location": "http://127.0.0.1:1/elsewhere"})

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


def outlet(db: Database, sink: Sink, owner: str = "me", **values: object) -> tuple[Outlet, CollectorRegistry]:
    registry = CollectorRegistry()
    return Outlet(db, sink, EventSettings(**values), owner, OutletNumbers(registry), keep_days=30), registry


async def launch(db: Database, name: str, *steps: tuple[LaunchState, NewEvent], provider: str = "gh") -> None:
    await db.rows(sa.text("""
        WITH l AS (INSERT INTO launch
          (id, state, seq, caller, client, provider, spec, repo, ref, repo_url, resolved_ref, origin, launch_host, build_token)
          VALUES (:id, 'waiting', 1, 'address:192.0.2.7', '192.0.2.7', :provider,
            'o/r/main', 'o/r', 'main', 'https://e.org/o/r',
            'c0ffee', 'https://book.example', 'https://hub.example:8443/base/', true))
        INSERT INTO event (launch, seq, kind, state, data) VALUES (:id, 1, 'waiting', 'waiting', '{}')
    """), {"id": name, "provider": provider})
    for to, event in steps:
        move = Move(name, to, (event,), allowed=frozenset(S))
        assert await db.run(lambda conn, move=move: move_launches(conn, [move]))


async def published(one: Outlet, enough: int, got: list[dict]) -> None:
    """Publish until so many have come. Transactions of other tests may hold the newest events back for a moment."""
    async with asyncio.timeout(60):
        while len(got) < enough:
            await one.turn()
            await asyncio.sleep(0.01)


async def test_what_goes_out_is_binderhubs_event_and_ours_and_holds_no_secret(db: Database) -> None:
    async with Receiver() as receiver:
        one, _ = outlet(db, Webhook(EventSettings(webhook=receiver.url, webhook_token="the-token")), webhook=receiver.url)
        await one.turn()  # a new reader begins now
        await launch(db, LAUNCH, (S.LAUNCHING, NewEvent(Kind.LAUNCHING)), (None, NewEvent(Kind.PROGRESS, {"message": "no news"})),
                     (S.READY, NewEvent(Kind.READY, READY)), (S.STOPPED, NewEvent(Kind.STOPPED, {"why": "idle"})))
        reason = {"code": "x", "message": "m", "hint": "h"}
        await launch(db, "f" * 32, (S.FAILED, NewEvent(Kind.FAILED, {"reason": reason})), provider="osf")
        await published(one, 7, receiver.got)
        await one.aclose()
    theirs = [body for body in receiver.got if body["schema"] == "binderhub.jupyter.org/launch"]
    assert [{key: value for key, value in body.items() if key != "timestamp"} for body in theirs] == [{
        "schema": "binderhub.jupyter.org/launch", "version": 6, "provider": "GitHub", "spec": "o/r/main", "ref": "c0ffee",
        "status": "success", "build_token": True, "origin": "hub.example:8443", "request_origin": "https://book.example",
    }]
    ours = {body["id"]: body for body in receiver.got if body["schema"] == "dockyard/launch"}
    assert [ours[f"0123456789ab.{n}"]["event"] for n in (1, 2, 4, 5)] == ["waiting", "launching", "ready", "stopped"]
    assert ours["0123456789ab.5"]["why"] == "idle"
    assert ours["ffffffffffff.2"]["reason"] == {"code": "x", "message": "m"}
    assert receiver.headers[-1] == "Bearer the-token"
    sent = json.dumps(receiver.got)
    for secret in (LAUNCH, "s" * 32, "192.0.2.7", "localhost:8001"):
        assert secret not in sent


async def test_a_sink_that_is_away_gets_everything_later(db: Database) -> None:
    async with Receiver() as receiver:
        one, registry = outlet(db, Webhook(EventSettings(webhook=receiver.url)), schemas=["dockyard"])
        await one.turn()
        for name in ("a", "b", "c"):
            await launch(db, name)
        receiver.status = 302  # a redirect is not followed
        with pytest.raises(Unreachable, match="answers 302"):
            await published(one, 3, receiver.got)
        (row,) = await db.rows(sa.text("SELECT failing_since, error, lease_owner FROM outlet"))
        assert (row.failing_since is not None, row.error) == (True, "The webhook answers 302.")
        assert registry.get_sample_value("dockyard_events_failures_total", {"sink": "webhook"}) == 1
        other, _ = outlet(db, Webhook(EventSettings(webhook=receiver.url)), "other", schemas=["dockyard"])
        assert not await other.turn()  # the first is still the one that sends
        receiver.status = 204
        await db.rows(sa.text("UPDATE outlet SET lease_until = now() - interval '1 second'"))  # and now it has died
        await published(other, 3, receiver.got)
        await asyncio.gather(one.aclose(), other.aclose())
    assert [body["launch"] for body in receiver.got] == ["a", "b", "c"]


async def test_what_is_too_much_is_dropped_and_counted(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "events.jsonl"
    one, registry = outlet(db, File(str(path)), schemas=["dockyard"], queue=100)
    await one.turn()
    await db.rows(sa.text("""
        INSERT INTO launch (id, state, caller, client, provider, spec, repo, ref)
        SELECT 'l' || n, 'waiting', 'c', 'a', 'gh', 's', 'r', 'HEAD' FROM generate_series(100, 249) n
    """))
    await db.rows(sa.text("INSERT INTO event (launch, seq, kind, state, data) SELECT id, 1, 'waiting', 'waiting', '{}' FROM launch"))
    async with asyncio.timeout(60):
        while registry.get_sample_value("dockyard_events_dropped_total", {"sink": "file"}) != 50:
            with contextlib.suppress(Unreachable):
                await one.turn()
            await asyncio.sleep(0.01)
    path.parent.mkdir()
    async with asyncio.timeout(60):
        while not path.exists() or len(path.read_text().splitlines()) < 100:
            await one.turn()
    assert [json.loads(line)["launch"] for line in path.read_text().splitlines()] == [f"l{n}" for n in range(150, 250)]
    assert path.stat().st_mode & 0o777 == 0o640
    (row,) = await db.rows(sa.text("SELECT sent, dropped, failing_since FROM outlet"))
    assert tuple(row) == (100, 50, None)
    await one.aclose()


def test_the_webhooks_address_is_a_secret() -> None:
    found = load({"DOCKYARD_EVENTS_WEBHOOK": "https://hooks.example/T0/secret"}).events
    assert "secret/" not in repr(found)
    assert "T0" not in repr(found)
