"""Streams that are cut, repeated, refused and resumed: each event once, in order."""

import random
from typing import Any

import pytest

from dockyard_client import BadAnswer, Invalid, NotFound, StreamCut, Unavailable
from dockyard_client.calls import launch_events
from dockyard_client.follow import GIVE_UP
from dockyard_client.talk import Sleep, Turn
from tests.dockyard_client.conftest import Colour
from tests.dockyard_client.peer import NO_ANSWER, Answer, Asked, Peer, answer, event, listening, stream
from tests.dockyard_client.test_decode import LAUNCH

RETRY = "retry: 10\n\n"
WAITING = event("l.1.0", "waiting", "Waiting.\n", state="waiting")
LINE_1, LINE_2 = event("l.1.1", "building", "one\n"), event("l.1.2", "building", "two\n")
READY = event("l.2.2", "ready", "Ready.\n", state="ready", url="http://h/user/x/", token="t")
PLACES = ["l.1.0", "l.1.1", "l.1.2", "l.2.2"]


def places(events: list[Any]) -> list[str]:
    return [found.id for found in events]


async def test_a_whole_stream(colour: Colour) -> None:
    async with listening(Peer(stream(RETRY, WAITING, ":keepalive\n\n", LINE_1, LINE_2, READY))) as peer:
        events = await colour.items(peer.url, "launches.events", "l")
    assert places(events) == PLACES
    assert [found.message for found in events] == ["Waiting.\n", "one\n", "two\n", "Ready.\n"]
    assert (events[-1].phase, events[-1].state, events[-1].data["url"]) == ("ready", "ready", "http://h/user/x/")
    asked = peer.asked[0]
    assert (asked.target, asked.headers["accept"]) == ("/api/v1/launches/l/events", "text/event-stream")
    assert "last-event-id" not in asked.headers


@pytest.mark.parametrize(("first", "resumed_at", "second"), [
    (stream(RETRY, WAITING, LINE_1, cut=True), "l.1.1", stream(LINE_2, READY)),
    (stream(RETRY, WAITING, LINE_1), "l.1.1", stream(LINE_2, READY)),
    (stream(RETRY, WAITING, LINE_1, LINE_2[:-1], cut=True), "l.1.1", stream(LINE_2, READY)),
    (stream(RETRY, WAITING, LINE_1, cut=True), "l.1.1", stream(WAITING, LINE_1, LINE_2, READY)),
    (stream(RETRY, cut=True), None, stream(WAITING, LINE_1, LINE_2, READY)),
    (NO_ANSWER, None, stream(WAITING, LINE_1, LINE_2, READY)),
], ids=["cut", "closed early", "cut within an event", "the server repeats", "cut at once", "no answer"])
async def test_each_event_once(colour: Colour, first: Answer, resumed_at: str | None, second: Answer) -> None:
    async with listening(Peer(first, second)) as peer:
        events = await colour.items(peer.url, "launches.events", "l")
    assert places(events) == PLACES
    assert peer.asked[1].headers.get("last-event-id") == resumed_at


async def test_resuming_where_another_process_stopped(colour: Colour) -> None:
    async with listening(Peer(stream(LINE_2, READY))) as peer:
        events = await colour.items(peer.url, "launches.events", "l", "l.1.1")
    assert places(events) == ["l.1.2", "l.2.2"]
    assert peer.asked[0].headers["last-event-id"] == "l.1.1"


async def test_a_finished_stream_has_no_more(colour: Colour) -> None:
    async with listening(Peer(Answer(204))) as peer:
        assert await colour.items(peer.url, "launches.events", "l", "l.2.2") == []


async def test_gateways_and_limits_between_two_connections(colour: Colour) -> None:
    begun = stream(RETRY, WAITING, cut=True)
    busy = answer({"title": "Busy"}, 429, Retry_After="0")
    async with listening(Peer(begun, Answer(502), busy, stream(LINE_1, LINE_2, READY))) as peer:
        assert places(await colour.items(peer.url, "launches.events", "l")) == PLACES
    assert [asked.headers.get("last-event-id") for asked in peer.asked] == [None, "l.1.0", "l.1.0", "l.1.0"]


async def test_a_launch_that_is_not_there(colour: Colour) -> None:
    async with listening(Peer(answer({"title": "Not found", "code": "not_found"}, 404))) as peer:
        with pytest.raises(NotFound):
            await colour.items(peer.url, "launches.events", "l")


async def test_a_launch_that_expires_between_two_connections(colour: Colour) -> None:
    async with listening(Peer(stream(RETRY, WAITING, cut=True), answer({"title": "Gone"}, 410))) as peer:
        with pytest.raises(NotFound):
            await colour.items(peer.url, "launches.events", "l")


@pytest.mark.parametrize("said", [Answer(200, b"<html>"), stream("data: hello\n\n"), stream("data: [1]\n\n")])
async def test_what_is_no_stream_of_ours(colour: Colour, said: Answer) -> None:
    async with listening(Peer(said)) as peer:
        with pytest.raises(BadAnswer):
            await colour.items(peer.url, "launches.events", "l")


async def test_any_cuts_anywhere(colour: Colour) -> None:
    """300 events over connections that break at any byte, by a server that may repeat what it has sent."""
    chance = random.Random(7)
    log = [event(f"l.1.{n}", "building", f"line {n} \u00e9{chr(10 + n % 2 * 3)}") for n in range(1, 300)]
    log.append(event("l.2.299", "ready", "", state="ready"))

    async def decide(asked: Asked) -> Answer:
        place = asked.headers.get("last-event-id", "l.1.0")
        start = max(0, int(place.split(".")[2]) - chance.choice([0, 0, 5]))
        rest = RETRY.encode() + "".join(log[start:]).encode()
        cut = chance.randrange(400, 4000)
        return stream(rest[:cut], cut=cut < len(rest))

    async with listening(Peer(decide=decide)) as peer:
        events = await colour.items(peer.url, "launches.events", "l")
    assert places(events) == [f"l.1.{n}" for n in range(1, 300)] + ["l.2.299"]
    assert len(peer.asked) > 5


def test_a_server_that_stays_away_is_given_up() -> None:
    turn = Turn(launch_events("l"))
    asleep = 0.0

    def always_lost() -> None:
        nonlocal asleep
        while turn.step is not None:
            if isinstance(turn.step, Sleep):
                asleep += turn.step.seconds
                turn.answer(None)
            else:
                turn.lost(Unavailable("No."))

    with pytest.raises(Unavailable):
        always_lost()
    assert GIVE_UP * 0.9 < asleep <= GIVE_UP


async def test_waiting_for_a_launch(colour: Colour) -> None:
    ready = LAUNCH | {"state": "ready", "reason": None, "url": "http://h/user/x/", "token": "t"}
    async with listening(Peer(stream(RETRY, WAITING, cut=True), stream(READY), answer(ready))) as peer:
        launch = await colour.result(peer.url, "launches.wait", "l")
    assert (launch.state, launch.location) == ("ready", "http://h/user/x/?token=t")


async def test_the_events_of_a_build(colour: Colour) -> None:
    built = event("b.2.2", "built", "", state="built")
    async with listening(Peer(stream(event("b.1.1", "building", "x\n"), built))) as peer:
        events = await colour.items(peer.url, "builds.events", "b")
    assert places(events) == ["b.1.1", "b.2.2"]
    assert peer.asked[0].target == "/api/v1/builds/b/events"


BINDER = [event("", "waiting", "Waiting for build to start...\n"), event("", "Building", "line\n")]


async def test_binderhub_itself(colour: Colour) -> None:
    ready = event("", "ready", "server running\n", url="http://h/", token="t")
    async with listening(Peer(stream(*BINDER, ready))) as peer:
        spec = "https%3A%2F%2Fe.org%2Fr/HEAD"
        events = await colour.items(peer.url, "binder", "git", spec, build_token="j.w.t")
    assert [(found.phase, found.id) for found in events] == [("waiting", ""), ("building", ""), ("ready", "")]
    assert peer.asked[0].target == "/build/git/https%3A%2F%2Fe.org%2Fr/HEAD?build_token=j.w.t"


async def test_binderhub_cannot_be_resumed(colour: Colour) -> None:
    async with listening(Peer(stream(*BINDER, cut=True))) as peer:
        with pytest.raises(StreamCut):
            await colour.items(peer.url, "binder", "gh", "o/r/HEAD")
    assert len(peer.asked) == 1


async def test_a_build_stream_of_ours_is_resumed(colour: Colour) -> None:
    async with listening(Peer(stream(RETRY, WAITING, cut=True), stream(LINE_1, LINE_2, READY))) as peer:
        assert places(await colour.items(peer.url, "binder", "gh", "o/r/HEAD", build_only=True)) == PLACES
    assert peer.asked[1].target == "/build/gh/o/r/HEAD?build_only=true"
    assert peer.asked[1].headers["last-event-id"] == "l.1.0"


async def test_a_failure_in_the_stream_is_an_event(colour: Colour) -> None:
    failed = 'data: {"phase": "failed", "status_code": 429, "message": "Rate limit exceeded.\\n"}\n\n'
    async with listening(Peer(stream(failed))) as peer:
        (found,) = await colour.items(peer.url, "binder", "gh", "o/r/HEAD")
    assert (found.phase, found.data["status_code"]) == ("failed", 429)


async def test_a_refused_build_request(colour: Colour) -> None:
    async with listening(Peer(answer({"title": "Bad Host"}, 400))) as peer:
        with pytest.raises(Invalid):
            await colour.items(peer.url, "binder", "gh", "o/r/HEAD")
