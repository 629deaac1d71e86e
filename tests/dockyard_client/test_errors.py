"""Refusals as exceptions."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from dockyard_client import errors
from dockyard_client.errors import problem, retry_after

BODY = b'{"type": "about:blank", "title": "Bad spec", "detail": "Say more.", "code": "bad_spec"}'


@pytest.mark.parametrize(("status", "kind"), [
    (400, errors.Invalid), (409, errors.Invalid), (422, errors.Invalid), (401, errors.Unauthorized),
    (403, errors.Unauthorized), (404, errors.NotFound), (410, errors.NotFound), (429, errors.Overloaded),
    (500, errors.ServerError), (503, errors.ServerError), (599, errors.ServerError), (418, errors.Problem),
    (302, errors.Problem),
])
def test_each_status_has_its_exception(status: int, kind: type[errors.Problem]) -> None:
    error = problem(status, {}, BODY)
    assert type(error) is kind
    assert (error.status, error.code) == (status, "bad_spec")
    assert (error.title, error.detail) == ("Bad spec", "Say more.")
    assert str(error) == f"Say more. ({status})"


@pytest.mark.parametrize("body", [b"", b"<html>502 Bad Gateway</html>", b"[1]", b'{"detail": [{"loc": []}]}'])
def test_a_proxy_in_front_answers_in_words_of_its_own(body: bytes) -> None:
    error = problem(502, {"retry-after": "7"}, body)
    assert (error.code, error.title, error.detail, error.retry_after) == ("http_502", "HTTP 502", "", 7.0)


@pytest.mark.parametrize(("value", "seconds"), [(None, None), ("", None), ("120", 120.0), ("soon", None)])
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    now = datetime.now(UTC)
    found = retry_after(format_datetime(now + timedelta(seconds=6000), usegmt=True)) or 0
    assert 5999 - (datetime.now(UTC) - now).total_seconds() <= found <= 6000
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
