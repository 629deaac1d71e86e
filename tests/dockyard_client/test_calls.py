"""What the calls send and what they make of the answers, in both colours."""

from typing import Any

import pytest

from dockyard_client import BadAnswer, Client, Invalid, Overloaded, Problem, ServerError, Unavailable
from tests.dockyard_client.conftest import Colour
from tests.dockyard_client.peer import NO_ANSWER, Answer, Peer, answer, listening
from tests.dockyard_client.test_decode import LAUNCH

BUILD = {
    "id": "b" * 32, "state": "built", "image": "r2d-o-r:abc", "repo_url": "https://example.org/o/r",
    "ref": "abc", "created_at": "2026-11-25T10:00:00Z", "lines": 12,
}
SERVER = {"id": "s1", "state": "running", "image": "r2d-o-r:abc", "launch": None}
PAGE = {"items": [], "next": None}

SENT: list[tuple[str, tuple[Any, ...], dict[str, Any], Answer, str, str]] = [
    ("launches.get", ("a/../b",), {}, answer(LAUNCH), "GET", "/api/v1/launches/a%2F..%2Fb"),
    ("launches.list", (), {}, answer(PAGE), "GET", "/api/v1/launches"),
    ("launches.list", (), {"state": "ready", "limit": 5, "cursor": "x="}, answer(PAGE), "GET",
     "/api/v1/launches?state=ready&limit=5&cursor=x%3D"),
    ("launches.cancel", ("a1",), {}, Answer(204), "DELETE", "/api/v1/launches/a1"),
    ("launches.stop", ("a1",), {}, answer(LAUNCH, 202), "DELETE", "/api/v1/launches/a1"),
    ("builds.get", ("b1",), {}, answer(BUILD), "GET", "/api/v1/builds/b1"),
    ("builds.list", (), {"state": "failed"}, answer(PAGE), "GET", "/api/v1/builds?state=failed"),
    ("builds.cancel", ("b1",), {}, Answer(204), "DELETE", "/api/v1/builds/b1"),
    ("builds.log", ("b1",), {}, Answer(200, b"one\n"), "GET", "/api/v1/builds/b1/log"),
    ("servers.list", (), {}, answer({"items": [SERVER]}), "GET", "/api/v1/servers"),
    ("servers.stop", ("s1",), {}, Answer(204), "DELETE", "/api/v1/servers/s1"),
    ("stats", (), {}, answer({"launches": {"ready": 1}}), "GET", "/api/v1/stats"),
]


@pytest.mark.parametrize(("verb", "args", "kwargs", "said", "method", "target"), SENT)
async def test_each_verb_sends_its_request(
    colour: Colour, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any], said: Answer, method: str,
    target: str,
) -> None:
    async with listening(Peer(said)) as peer:
        await colour.result(peer.url, verb, *args, token="t0k", **kwargs)
    assert [(asked.method, asked.target) for asked in peer.asked] == [(method, target)]
    assert peer.asked[0].headers["authorization"] == "Bearer t0k"


async def test_a_base_path_is_kept(colour: Colour) -> None:
    async with listening(Peer(answer(LAUNCH))) as peer:
        await colour.result(peer.url + "/binder", "launches.get", "a1")
    assert peer.asked[0].target == "/binder/api/v1/launches/a1"
    assert "authorization" not in peer.asked[0].headers


async def test_a_launch_is_created_from_a_link(colour: Colour) -> None:
    async with listening(Peer(answer(LAUNCH, 202))) as peer:
        launch = await colour.result(
            peer.url, "launches.create", "https://e.org/r", env={"A": "1"}, urlpath="lab", idempotency_key="k"
        )
    assert launch.id == LAUNCH["id"]
    asked = peer.asked[0]
    assert (asked.method, asked.target, asked.headers["idempotency-key"]) == ("POST", "/api/v1/launches", "k")
    assert asked.json == {"link": "https://e.org/r", "env": {"A": "1"}, "urlpath": "lab"}


async def test_a_launch_is_created_from_provider_and_spec(colour: Colour) -> None:
    async with listening(Peer(answer(LAUNCH, 202))) as peer:
        await colour.result(peer.url, "launches.create", provider="gh", spec="o/r/HEAD", build_only=True)
    assert peer.asked[0].json == {"provider": "gh", "spec": "o/r/HEAD", "build_only": True}


async def test_creating_is_repeated_under_one_key_when_nothing_answers(colour: Colour) -> None:
    async with listening(Peer(NO_ANSWER, Answer(502, b"<html>"), answer(LAUNCH, 202))) as peer:
        await colour.result(peer.url, "launches.create", "https://e.org/r")
    keys = [asked.headers["idempotency-key"] for asked in peer.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.parametrize("kwargs", [{}, {"provider": "gh"}, {"link": "x", "provider": "gh", "spec": "o/r"}])
def test_a_launch_needs_a_link_or_a_spec(kwargs: dict[str, str]) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ValueError, match="either a link"):
        client.launches.create(**kwargs)  # type: ignore[arg-type]


async def test_a_refusal_is_not_repeated(colour: Colour) -> None:
    said = answer({"title": "Bad spec", "detail": "Say more.", "code": "bad_spec"}, 400)
    async with listening(Peer(said)) as peer:
        with pytest.raises(Invalid, match="Say more") as caught:
            await colour.result(peer.url, "launches.create", "x")
    assert (caught.value.status, caught.value.code) == (400, "bad_spec")
    assert len(peer.asked) == 1


async def test_a_limit_says_when_to_come_back(colour: Colour) -> None:
    said = answer({"title": "Too many", "detail": "Later.", "code": "overloaded"}, 429, Retry_After="30")
    async with listening(Peer(said)) as peer:
        with pytest.raises(Overloaded) as caught:
            await colour.result(peer.url, "launches.create", "x")
    assert caught.value.retry_after == 30.0


async def test_a_long_absence_is_told_at_once(colour: Colour) -> None:
    async with listening(Peer(answer({"title": "Away"}, 503, Retry_After="900"))) as peer:
        with pytest.raises(ServerError) as caught:
            await colour.result(peer.url, "launches.get", "a1")
    assert caught.value.retry_after == 900.0
    assert len(peer.asked) == 1


async def test_nobody_listens(colour: Colour, unused_tcp_port: int) -> None:
    with pytest.raises(Unavailable, match="No answer from the server"):
        await colour.result(f"http://127.0.0.1:{unused_tcp_port}", "stats")


async def test_something_else_listens(colour: Colour) -> None:
    async with listening(Peer(Answer(200, b"<html>hello</html>"))) as peer:
        with pytest.raises(BadAnswer, match="not JSON"):
            await colour.result(peer.url, "launches.get", "a1")


async def test_pages_are_followed_to_the_end(colour: Colour) -> None:
    first = {"items": [BUILD | {"id": "1"}, BUILD | {"id": "2"}], "next": "c/1"}
    async with listening(Peer(answer(first), answer({"items": [BUILD | {"id": "3"}], "next": None}))) as peer:
        found = await colour.items(peer.url, "builds.each", state="built")
    assert [build.id for build in found] == ["1", "2", "3"]
    assert peer.asked[1].target == "/api/v1/builds?state=built&cursor=c%2F1"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://h/", "http://", ""])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="not the address of a server"):
        Client(url)


async def test_a_redirect_is_followed_for_reading_only(colour: Colour) -> None:
    there = Answer(307, b"", {"Location": "/elsewhere"})
    async with listening(Peer(there, answer(LAUNCH), there)) as peer:
        await colour.result(peer.url, "launches.get", "a1")
        with pytest.raises(Problem, match="307"):
            await colour.result(peer.url, "launches.create", "x")
    assert [asked.target for asked in peer.asked[1:]] == ["/elsewhere", "/api/v1/launches"]
