"""The fan-out on real rows: what a position that nobody was ever told costs, and where its watcher goes on."""

from collections.abc import MutableMapping
from typing import Any

import pytest
import sqlalchemy as sa

from api.streams import Fanout, Position
from api.streams.watcher import Watcher
from services.db import Database
from services.events import Kind, NewEvent
from services.lifecycle.moves import Move, move_launches
from services.queue import Redis
from services.settings import Settings
from services.states import LaunchState
from tests.services.lifecycle.test_moves import insert

LAUNCH = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("position", [Position(999_999_999, 0), Position(2, 0)])
async def test_a_position_that_nobody_was_told_is_found_out_with_few_questions(settings: Settings, position: Position) -> None:
    db, redis = Database(settings.database), Redis(settings.redis)
    fanout = Fanout(db, redis, lambda _: "", 0.0)
    await insert(db, LAUNCH)
    await db.run(lambda conn: move_launches(conn, [Move(LAUNCH, LaunchState.RESOLVING, (NewEvent(Kind.RESOLVING),))]))
    asked, told = [], []
    sa.event.listen(db.engine.sync_engine, "before_cursor_execute", lambda *words: asked.append(words[2]))

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message["body"])

    feed, watcher = fanout.begin(LAUNCH), Watcher(send, lambda: None)
    await fanout.watch(feed, watcher, position)
    assert len(asked) <= 3
    assert watcher in feed.live
    await db.run(lambda conn: move_launches(conn, [Move(LAUNCH, LaunchState.FAILED, (NewEvent(Kind.FAILED, {"reason": {}}),))]))
    await fanout._look()
    assert f"id: {LAUNCH}.2.0".encode() in b"".join(told)
    fanout.leave(feed, watcher)
    await fanout.aclose()
    await redis.aclose()
    await db.aclose()
