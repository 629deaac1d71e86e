"""The order of a stream, as pure computation: events, lines, and what is missing."""

import json
import re

from api.phases import encode
from api.streams.feed import Feed, Log
from api.streams.position import Position, read
from api.streams.rows import Chunk
from services.events import Kind, StoredEvent

LAUNCH = "0" * 32


def event(seq: int, kind: Kind, **data: object) -> StoredEvent:
    return StoredEvent(LAUNCH, seq, 1.0, kind, "building", data)


def chunk(first: int, last: int) -> Chunk:
    return Chunk.of(first, last, "\n".join(json.dumps({"phase": "building", "message": f"{n}\n"}) for n in range(first, last + 1)))


class Driver:
    """A feed with the one log it may join."""

    def __init__(self) -> None:
        self.feed = Feed(LAUNCH, lambda event, line: encode(event, line, lambda server: "token"))
        self.log = Log("b")
        self.said = b""

    def run(self) -> list[str]:
        """Say what can be said; the ids so far."""
        for part in self.feed.steps(lambda _: self.log):
            assert part is not None
            self.said += part
        return re.findall(r"id: 0+\.(\d+\.\d+)", self.said.decode())


def test_lines_come_between_the_events_that_join_and_end_the_build() -> None:
    driver = Driver()
    driver.feed.offer(event(1, Kind.WAITING))
    driver.feed.offer(event(2, Kind.BUILDING, build="b"))
    assert driver.run() == ["1.0", "2.0"]
    driver.log.add(chunk(1, 3))
    assert driver.run()[2:] == ["2.1", "2.2", "2.3"]
    driver.feed.offer(event(3, Kind.BUILT, image="i:1", log_end=5))
    assert driver.run()[5:] == []  # lines 4 and 5 have not been read yet
    assert driver.log.wanted == 5
    driver.log.add(chunk(4, 5))
    assert driver.run()[5:] == ["2.4", "2.5", "3.5"]


def test_an_event_that_is_missing_holds_back_what_follows() -> None:
    driver = Driver()
    driver.feed.offer(event(1, Kind.WAITING))
    driver.feed.offer(event(3, Kind.NOTICE, message="later"))
    assert driver.run() == ["1.0"]
    assert driver.feed.gap
    driver.feed.offer(event(2, Kind.RESOLVING))
    assert driver.run() == ["1.0", "2.0", "3.0"]


def test_what_comes_twice_is_said_once() -> None:
    driver = Driver()
    for _ in range(3):
        driver.feed.offer(event(1, Kind.WAITING))
        driver.feed.offer(event(2, Kind.BUILDING, build="b"))
        driver.log.add(chunk(1, 2))
        ids = driver.run()
    assert ids == ["1.0", "2.0", "2.1", "2.2"]


def test_the_stream_ends_with_the_first_end() -> None:
    driver = Driver()
    driver.feed.offer(event(1, Kind.FOUND, image="i:1"))
    driver.feed.offer(event(2, Kind.READY, url="http://x/", server="s"))
    driver.feed.offer(event(3, Kind.STOPPING))
    assert driver.run() == ["1.0", "2.0"]
    assert driver.feed.ended


def test_a_second_build_counts_its_lines_from_one() -> None:
    driver = Driver()
    driver.feed.offer(event(1, Kind.BUILDING, build="b"))
    driver.log.add(chunk(1, 2))
    driver.feed.offer(event(2, Kind.BUILT, image="i:1", log_end=2))
    driver.feed.offer(event(3, Kind.BUILDING, build="b"))
    assert driver.run() == ["1.0", "1.1", "1.2", "2.2", "3.0", "3.1", "3.2"]


def test_who_comes_late_is_told_the_same_out_of_memory() -> None:
    driver = Driver()
    driver.feed.offer(event(1, Kind.WAITING))
    driver.feed.offer(event(2, Kind.BUILDING, build="b"))
    driver.log.add(chunk(1, 30))
    driver.run()
    told = driver.said
    for number in (0, 1, 2, 3, 17, 32):
        at = [found.end() for found in re.finditer(rb"\n\n", b"\n\n" + told)][number] - 2
        start = Position() if number == 0 else read(re.findall(r"id: (\S+)", told[:at].decode())[-1])[1]
        assert driver.feed.recall(start) == told[at:]
        assert driver.feed.recall(start) is driver.feed.recall(start)
    driver.log.add(chunk(31, 32))
    driver.run()
    assert driver.feed.recall(Position()) == driver.said
    driver.feed.offer(event(3, Kind.BUILT, image="i:1", log_end=32))
    driver.run()
    assert driver.feed.recall(Position()) is None  # the log has been let go of
    assert driver.feed.recall(Position(3, 32)) == b""


def test_a_log_forgets_its_oldest_chunks_and_says_so() -> None:
    log = Log("b")
    body = "\n".join(json.dumps({"phase": "building", "message": "x" * 100_000}) for _ in range(10))
    for start in range(1, 101, 10):
        log.add(Chunk.of(start, start + 9, body))
    assert log.last == 100
    assert log.between(0, 100) is None
    assert log.between(log.first - 1, 100) is not None
    assert log.between(100, 100) == b""


def test_parts_of_chunks_begin_and_end_where_they_should() -> None:
    log = Log("b")
    log.add(chunk(1, 4))
    log.add(chunk(5, 9))
    part = log.between(2, 7)
    assert part is not None
    assert re.findall(rb"id: \0\.(\d+)", part) == [b"3", b"4", b"5", b"6", b"7"]


def test_positions_are_read_and_strange_ones_refused() -> None:
    assert read(f"{LAUNCH}.3.17") == (LAUNCH, Position(3, 17))
    for text in ("", "x", f"{LAUNCH}.3", f"{LAUNCH}.-1.0", f"{LAUNCH}.1.2.3", f"{LAUNCH[:-1]}.1.2", f"{LAUNCH}.1.99999999999"):
        assert read(text) is None
