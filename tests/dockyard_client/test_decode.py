"""JSON into the dataclasses, strictly enough."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dockyard_client.decode import one, page
from dockyard_client.errors import BadAnswer
from dockyard_client.models import Build, Launch, Reason, Stats

LAUNCH: dict[str, Any] = {
    "id": "a" * 32, "state": "failed", "target": "ready", "provider": "gh", "spec": "o/r/HEAD",
    "created_at": "2026-11-25T10:00:00.5Z",
    "reason": {"code": "build_failed", "message": "No.", "hint": "Pin it."},
    "timings": {"waiting": 1, "building": 2.5}, "position": None, "estimate_seconds": 12,
}


def encode(said: Any) -> bytes:
    return json.dumps(said).encode()


def test_a_launch_with_everything_it_may_have() -> None:
    launch = one(Launch, encode(LAUNCH))
    assert launch.created_at == datetime(2026, 11, 25, 10, 0, 0, 500000, tzinfo=UTC)
    assert launch.reason == Reason("build_failed", "No.", "Pin it.")
    assert launch.timings == {"waiting": 1.0, "building": 2.5}
    assert (launch.position, launch.estimate_seconds, launch.url, launch.attempt) == (None, 12.0, None, 1)
    assert launch.settled


def test_keys_of_a_newer_server_are_ignored() -> None:
    assert one(Stats, encode({"launches": {"ready": 3}, "moons": 2})) == Stats(launches={"ready": 3})


def test_a_page_and_its_cursor() -> None:
    found = page(Launch, encode({"items": [LAUNCH, LAUNCH], "next": "abc"}))
    assert (len(found.items), found.next) == (2, "abc")
    assert page(Launch, encode({"items": []})).next is None


@pytest.mark.parametrize(("change", "complaint"), [
    ({"state": 3}, "Launch.state is 3, expected str"),
    ({"state": None}, "Launch.state is None"),
    ({"created_at": "yesterday"}, "Launch.created_at is 'yesterday', expected a time"),
    ({"created_at": "2026-11-25T10:00:00"}, "without a zone"),
    ({"position": "3"}, "Launch.position"),
    ({"build_only": 1}, "Launch.build_only"),
    ({"reason": "because"}, "Launch.reason is not an object"),
    ({"timings": {"waiting": "long"}}, "Launch.timings.waiting"),
])
def test_a_wrong_value_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadAnswer, match=complaint):
        one(Launch, encode(LAUNCH | change))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b""])
def test_what_is_no_answer_of_ours(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        one(Build, body)
    with pytest.raises(BadAnswer):
        page(Build, body)


@pytest.mark.parametrize(("url", "urlpath", "token", "location"), [
    (None, "", None, None),
    ("http://h/user/x/", "", None, "http://h/user/x/"),
    ("http://h/user/x/", "", "t", "http://h/user/x/?token=t"),
    ("http://h/user/x/", "/lab/tree/a%20b.ipynb", "t", "http://h/user/x/lab/tree/a%20b.ipynb?token=t"),
    ("http://h/user/x/", "git-pull?repo=https%3A%2F%2Fe.org%2Fr", "t",
     "http://h/user/x/git-pull?repo=https%3A%2F%2Fe.org%2Fr&token=t"),
    ("http://h/user/x/", "https://evil.example/", "t", "http://h/user/x/https://evil.example/?token=t"),
    ("http://h/user/x/", "//evil.example/", "t", "http://h/user/x/evil.example/?token=t"),
])
def test_the_address_to_open(url: str | None, urlpath: str, token: str | None, location: str | None) -> None:
    launch = one(Launch, encode(LAUNCH | {"url": url, "urlpath": urlpath, "token": token}))
    assert launch.location == location


def test_a_token_is_not_shown() -> None:
    assert "sesame" not in repr(one(Launch, encode(LAUNCH | {"token": "sesame"})))
