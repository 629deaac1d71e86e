"""The stream of one build on real rows: one reader for all who watch, how much of a big log is held at a time, and what becomes of
readers that do not read."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
import sqlalchemy as sa

from api.streams import EventStream, Fanout, Position, watcher
from services.db import Database
from services.events import Wake, build_end
from services.queue import Redis
from services.settings import Settings

BUILD = "0123456789abcdef0123456789abcdef"


class Counting(Database):
    """A database that counts what it is asked."""

    asked = 0

    async def rows(self, *args: Any, **more: Any) -> Any:
        self.asked += 1
        return await super().rows(*args, **more)


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Counting]:
    found = Counting(settings.database)
    await found.rows(sa.text("""
        INSERT INTO build (id, image, generation, provider, repo_url, commit, ref, state)
        VALUES (:id, 'i', 1, 'git', 'u', 'c', 'r', 'building')
    """), {"id": BUILD})
    yield found
    await found.aclose()


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    found = Redis(settings.redis)
    yield found
    await found.aclose()


@pytest.fixture
async def fanout(db: Database, redis: Redis) -> AsyncIterator[Fanout]:
    found = Fanout(db, redis, lambda _: "", 0.0)
    yield found
    await found.aclose()


async def write(db: Database, first: int, last: int, size: int = 1) -> None:
    line = json.dumps({"phase": "building", "message": "x" * size})
    await db.rows(sa.text("""
        INSERT INTO log_chunk (build, first, last, body) SELECT :id, n, n, :line FROM generate_series(CAST(:a AS int), CAST(:z AS int)) n
    """), {"id": BUILD, "line": line, "a": first, "z": last})
    await db.rows(sa.text("UPDATE build SET lines = :z WHERE id = :id"), {"id": BUILD, "z": last})


async def end(db: Database, state: str = "built") -> None:
    await db.rows(sa.text("UPDATE build SET state = :state, ended_at = now() WHERE id = :id"), {"id": BUILD, "state": state})


class Reader:
    """A connection and what it was sent."""

    def __init__(self, fanout: Fanout, start: Position = Position()) -> None:  # noqa: B008 - immutable
        self.parts: list[bytes] = []
        self.ended = asyncio.Event()
        self._gone = asyncio.Event()
        self.task = asyncio.create_task(EventStream(fanout, fanout.begin_build(BUILD), start)(
            {"type": "http", "method": "GET"}, self._hear, self._send))

    @property
    def ids(self) -> list[str]:
        return [line[4:].decode().removeprefix(f"{BUILD}.") for line in b"".join(self.parts).split(b"\n") if line.startswith(b"id: ")]

    async def _hear(self) -> MutableMapping[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.parts.append(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ended.set()
            self._gone.set()

    async def leave(self) -> None:
        self._gone.set()
        await self.task


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_thousand_watchers_of_one_build_cost_one_reader(
    db: Counting, redis: Redis, fanout: Fanout, monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, look = [], fanout._look

    async def looking() -> None:
        looks.append(await look())

    monkeypatch.setattr(fanout, "_look", looking)
    fanout.start()
    await write(db, 1, 3)
    first = Reader(fanout)
    await until(lambda: first.ids == ["0.1", "0.2", "0.3"])
    before = db.asked
    readers = [first, *(Reader(fanout) for _ in range(1000))]
    await until(lambda: all(len(reader.ids) == 3 for reader in readers))
    await write(db, 4, 5)
    wake = Wake(redis)
    wake.publish(builds={BUILD: 5})
    await until(lambda: all(reader.ids[3:] == ["0.4", "0.5"] for reader in readers))
    await end(db)
    wake.publish([build_end(BUILD, 1.0, "built", 5, None)])
    await asyncio.gather(*(reader.task for reader in readers))
    assert db.asked - before < 100 + 3 * len(looks)  # some of this test, one for the lines, and two every five seconds
    assert {tuple(reader.ids[5:]) for reader in readers} == {("1.5",)}
    assert (fanout.watchers, fanout.feeds(), fanout._feeds.logs) == (0, [], {})
    await wake.aclose()


async def test_the_end_of_a_build_is_found_though_nobody_told(db: Database, fanout: Fanout) -> None:
    await write(db, 1, 2)
    reader = Reader(fanout, Position(0, 1))
    await until(lambda: reader.ids == ["0.2"])
    await write(db, 3, 3)
    await end(db, "cancelled")
    await fanout._look()
    await reader.task
    assert reader.ids == ["0.2", "0.3", "1.3"]
    said = json.loads(reader.parts[-1].rsplit(b"data: ", 1)[1])
    assert (said["phase"], said["state"]) == ("failed", "cancelled")


async def test_a_big_log_is_sent_in_parts_and_a_reader_that_is_gone_leaves_no_place_taken(db: Database, fanout: Fanout) -> None:
    await write(db, 1, 40, 256 << 10)
    await end(db)
    reader = Reader(fanout)
    await reader.task
    assert len(reader.ids) == 41
    assert max(map(len, reader.parts)) < 4 << 20

    async def hear() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def broken(message: MutableMapping[str, Any]) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await EventStream(fanout, fanout.begin_build(BUILD), Position())({"type": "http", "method": "GET"}, hear, broken)
    assert (fanout.watchers, fanout.feeds()) == (0, [])


async def test_a_log_that_has_expired_does_not_keep_its_end_from_being_told(db: Database, fanout: Fanout) -> None:
    await write(db, 1, 3)
    await end(db, "failed")
    await db.rows(sa.text("DELETE FROM log_chunk"))
    reader = Reader(fanout)
    async with asyncio.timeout(60):
        await reader.task
    assert reader.ids == ["1.3"]


async def test_a_reader_who_does_not_read_is_dropped(db: Database, fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "PATIENCE", 0.05)
    await write(db, 1, 1)
    never = asyncio.Event()
    sent = []

    async def hear() -> MutableMapping[str, Any]:
        await never.wait()
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message.get("body", b"").startswith(b"id: "):
            await never.wait()  # the other side takes nothing any more
        sent.append(message)

    async with asyncio.timeout(60):
        await EventStream(fanout, fanout.begin_build(BUILD), Position())({"type": "http", "method": "GET"}, hear, send)
    assert [message.get("more_body") for message in sent] == [None, True]
    assert (fanout.watchers, fanout.feeds()) == (0, [])


async def test_a_feed_that_was_forgotten_before_its_reader_came_is_begun_anew(db: Database, fanout: Fanout) -> None:
    await write(db, 1, 1)
    stale = fanout.begin_build(BUILD)
    fanout.forget(stale)  # the reader before was the last one
    feed = fanout.current(stale)
    assert feed is not stale
    assert feed is fanout.current(feed)
    assert feed.log is fanout._feeds.logs[BUILD]
