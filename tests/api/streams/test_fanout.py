"""What the fan-out holds on to, and what it lets go."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from api.streams import Fanout, Position
from api.streams.watcher import Watcher
from services.db import Database
from services.events import Kind, StoredEvent
from services.queue import Redis
from services.settings import Settings

LAUNCH = "a" * 32


@pytest.fixture
async def fanout(settings: Settings) -> AsyncIterator[Fanout]:
    db, redis = Database(settings.database), Redis(settings.redis)
    await db.rows(sa.text("INSERT INTO log_chunk (build, first, last, body) VALUES ('b', 1, 1, '{}')"))
    found = Fanout(db, redis, lambda server: "token", 60)
    yield found
    await found.aclose()
    await redis.aclose()
    await db.aclose()


def event(seq: int, kind: Kind, **data: object) -> StoredEvent:
    return StoredEvent(LAUNCH, seq, 1.0, kind, "building", data)


class Connection:
    """What a watcher has been sent."""

    def __init__(self) -> None:
        self.body = b""

    async def send(self, message: dict[str, bytes]) -> None:
        self.body += message["body"]


async def test_a_log_is_let_go_when_its_build_has_ended_though_watchers_stay(fanout: Fanout) -> None:
    feed = fanout.begin(LAUNCH, [event(1, Kind.BUILDING, build="b")])
    connection = Connection()
    watcher = Watcher(connection.send, lambda: None)
    await fanout.watch(feed, watcher, Position())
    assert list(fanout._feeds.logs) == ["b"]
    await fanout._reader.read_logs()
    feed.offer(event(2, Kind.BUILT, image="i:1", log_end=1))
    await fanout._broadcast([feed])
    assert connection.body.count(b"id: ") == 3
    assert fanout._feeds.logs == {}
    fanout.leave(feed, watcher)
    assert fanout.feeds() == []


async def test_a_log_is_let_go_with_its_last_watcher(fanout: Fanout) -> None:
    feed = fanout.begin(LAUNCH, [event(1, Kind.BUILDING, build="b")])
    watcher = Watcher(Connection().send, lambda: None)
    await fanout.watch(feed, watcher, Position())
    fanout.leave(feed, watcher)
    assert fanout._feeds.logs == {}
    assert fanout.feeds() == []


async def test_whoever_comes_back_while_the_log_cannot_be_read_is_told_nothing_twice(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.streams.fanout._TRIES", 3)
    feed = fanout.begin(LAUNCH, [event(1, Kind.BUILDING, build="unread")])
    connection, dropped = Connection(), asyncio.Event()
    watcher = Watcher(connection.send, dropped.set)
    await fanout.watch(feed, watcher, Position(1, 4))
    assert dropped.is_set()  # it comes again, from where it is
    assert connection.body == b""
    fanout.leave(feed, watcher)


async def test_a_position_that_is_none_of_ours_goes_on_from_where_the_feed_is(fanout: Fanout) -> None:
    feed = fanout.begin(LAUNCH, [event(1, Kind.BUILDING, build="b")])
    connection = Connection()
    watcher = Watcher(connection.send, lambda: None)
    await fanout.watch(feed, watcher, Position(7, 0))
    assert not watcher.closed
    feed.offer(event(2, Kind.FAILED, reason={}))
    await fanout._broadcast([feed])
    assert b"id: " in connection.body
    fanout.leave(feed, watcher)
