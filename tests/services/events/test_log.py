"""A build's log: chunks, positions, owners, floods."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from services.db import Database
from services.errors import LeaseLost
from services.events import Wake
from services.events.log import LogWriter, wire
from services.queue import Redis
from services.runtimes.base import LogLine
from services.settings import BuildSettings, Settings


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    found = Database(settings.database)
    await found.rows(sa.text("""
        INSERT INTO build (id, image, provider, repo_url, commit, epoch) VALUES ('b', 'i:1', 'git', 'https://x/y', 'c', 3)
    """))
    yield found
    await found.aclose()


@pytest.fixture
async def wake(settings: Settings) -> AsyncIterator[Wake]:
    redis = Redis(settings.redis)
    found = Wake(redis)
    yield found
    await found.aclose()
    await redis.aclose()


def writer(db: Database, wake: Wake, epoch: int = 3, **more: int) -> LogWriter:
    return LogWriter(db, wake, "b", epoch, BuildSettings(**more), source=0, lines=0, size=0)


def some(*words: str) -> list[LogLine]:
    return [LogLine("building", word) for word in words]


async def waits_for_a_lock(db: Database) -> None:
    statement = sa.text("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    while not await db.rows(statement):
        await asyncio.sleep(0.01)


async def stored(db: Database) -> list[str]:
    rows = await db.rows(sa.text("SELECT body FROM log_chunk WHERE build = 'b' ORDER BY first"))
    return [json.loads(line)["message"] for row in rows for line in row.body.split("\n")]


async def test_lines_are_stored_once_with_the_position_of_the_source(db: Database, wake: Wake) -> None:
    log = writer(db, wake)
    await log.add(some("one\n", "two\n"), source=2)
    await log.flush()
    await log.add(some("three\n"), source=3)
    await log.say("ours")
    assert await log.close() == 4
    assert await stored(db) == ["one\n", "two\n", "three\n", "ours\n"]
    row = (await db.rows(sa.text("SELECT lines, source_line FROM build")))[0]
    assert (row.lines, row.source_line) == (4, 3)
    chunks = await db.rows(sa.text("SELECT first, last FROM log_chunk ORDER BY first"))
    assert [(row.first, row.last) for row in chunks] == [(1, 2), (3, 4)]


async def test_an_old_owner_writes_nothing(db: Database, wake: Wake) -> None:
    log = writer(db, wake, epoch=2)
    await log.add(some("late\n"), source=1)
    with pytest.raises(LeaseLost):
        await log.flush()
    assert await stored(db) == []


async def test_a_flood_is_bounded_says_so_and_keeps_its_end(db: Database, wake: Wake) -> None:
    log = writer(db, wake, log_lines=150)
    for start in range(0, 5000, 500):
        await log.add(some(*[f"line {n}\n" for n in range(start, start + 500)]), source=start + 500)
    await log.close()
    lines = await stored(db)
    assert lines[:150] == [f"line {n}\n" for n in range(150)]
    assert "reached its limit" in lines[150]
    assert "4750 lines left out" in lines[151]
    assert lines[152:] == [f"line {n}\n" for n in range(4900, 5000)]
    assert (await db.rows(sa.text("SELECT source_line FROM build")))[0].source_line == 5000


async def test_bytes_are_bounded_too(db: Database, wake: Wake) -> None:
    log = writer(db, wake, log_bytes=1 << 14)
    await log.add(some(*["x" * 1000 + "\n" for _ in range(300)]), source=300)
    await log.close()
    size = (await db.rows(sa.text("SELECT sum(length(body)) AS n FROM log_chunk")))[0].n
    assert size < (1 << 14) + 105 * 1100


@pytest.mark.parametrize("message", ["plain\n", "nul \0 and \x1b[31mred\x1b[0m\n", "é 漢字 \udcff\n", "a\r50%\r100%", ""])
def test_a_line_goes_over_the_wire_in_ascii_and_comes_back(message: str) -> None:
    text = wire(LogLine("building", message), 8192)
    assert text.isascii()
    assert "\n" not in text
    assert "\0" not in text
    assert json.loads(text) == {"phase": "building", "message": message}


def test_a_long_line_is_cut_and_says_so() -> None:
    message = json.loads(wire(LogLine("building", "x" * 100_000), 1000))["message"]
    assert len(message) < 1100
    assert message.endswith("(line cut)\n")


async def test_a_write_under_way_is_not_lost_when_the_log_is_closed(db: Database, wake: Wake) -> None:
    log = writer(db, wake)
    async with db.engine.begin() as other:
        await other.execute(sa.text("SELECT id FROM build WHERE id = 'b' FOR UPDATE"))
        await log.add(some("one\n", "two\n"), source=2)
        await waits_for_a_lock(db)  # the timer has taken the lines and writes them
        await log.add(some("three\n"), source=3)
        closing = asyncio.create_task(log.close())
        await asyncio.sleep(0)
    assert await closing == 3
    assert await stored(db) == ["one\n", "two\n", "three\n"]


async def test_a_write_that_is_repeated_stores_its_lines_once(db: Database, wake: Wake) -> None:
    class Unsure(Database):
        """Its connection breaks after the commit, before the answer."""

        def __init__(self, engine: object) -> None:
            self.engine = engine  # type: ignore[assignment]

        async def rows(self, statement: sa.Executable, parameters: dict[str, object] | None = None) -> list[sa.Row]:
            await db.rows(statement, parameters)
            return await db.rows(statement, parameters)

    log = LogWriter(Unsure(db.engine), wake, "b", 3, BuildSettings(), source=0, lines=0, size=0)
    for n in range(3):
        await log.add(some(f"{n}\n"), source=n + 1)
        await log.flush()
    assert await stored(db) == ["0\n", "1\n", "2\n"]
