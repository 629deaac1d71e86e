"""The stream of one build on real rows: how much of a big log it holds at a time, and that it counts right."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
import sqlalchemy as sa

from api.routes.build_events import BuildStream
from api.streams import Fanout
from services.db import Database
from services.queue import Redis
from services.settings import Settings

BUILD = "0123456789abcdef0123456789abcdef"


async def hear() -> MutableMapping[str, Any]:
    await asyncio.Event().wait()
    return {}


async def test_a_big_log_is_sent_in_parts_and_a_reader_that_is_gone_leaves_no_place_taken(settings: Settings) -> None:
    db, redis = Database(settings.database), Redis(settings.redis)
    fanout = Fanout(db, redis, lambda _: "", 0.0)
    line = json.dumps({"phase": "building", "message": "x" * (256 << 10)})
    await db.rows(sa.text("""
        INSERT INTO build (id, image, generation, provider, repo_url, commit, ref, state, ended_at)
        VALUES (:id, 'i', 1, 'git', 'u', 'c', 'r', 'built', now())
    """), {"id": BUILD})
    await db.rows(sa.text("INSERT INTO log_chunk (build, first, last, body) SELECT :id, n, n, :line FROM generate_series(1, 40) n"),
                  {"id": BUILD, "line": line})
    sent: list[bytes] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))

    await BuildStream(fanout, db, BUILD, 0)({"type": "http"}, hear, send)
    assert b"".join(sent).count(b"\ndata: ") == 41
    assert max(map(len, sent)) < 4 << 20

    async def broken(message: MutableMapping[str, Any]) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await BuildStream(fanout, db, BUILD, 0)({"type": "http"}, hear, broken)
    assert fanout.watchers == 0
    await fanout.aclose()
    await redis.aclose()
    await db.aclose()
