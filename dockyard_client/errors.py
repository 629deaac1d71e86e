"""What can go wrong when talking to a Dockyard server.

    ClientError
    ├── Unavailable          no answer: refused, cut, timed out (after the retries that were safe)
    │   └── StreamCut        an event stream broke and cannot be resumed without asking for the work again
    ├── BadAnswer            an answer that is not of Dockyard's API
    └── Problem              the server refused, with a problem body (RFC 9457)
        ├── Invalid          400, 409, 422: the request has to be changed
        ├── Unauthorized     401, 403
        ├── NotFound         404, 410
        ├── Overloaded       429: ask again after `retry_after` seconds
        └── ServerError      5xx
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class ClientError(Exception):
    """Base of everything that this package raises."""


class Unavailable(ClientError):
    """The server gave no answer."""


class StreamCut(Unavailable):
    """An event stream broke, and the server gave no position to resume it from."""


class BadAnswer(ClientError):
    """The answer does not look like Dockyard's API; the address may be wrong."""


class Problem(ClientError):
    """The server refused; the attributes are those of its problem body."""

    def __init__(self, status: int, code: str, title: str, detail: str, retry_after: float | None) -> None:
        super().__init__(f"{detail or title} ({status})")
        self.status = status
        self.code = code  # stable, for programs
        self.title = title
        self.detail = detail  # a sentence for the user
        self.retry_after = retry_after  # seconds, where the server said so


class Invalid(Problem):
    """The request has to be changed."""


class Unauthorized(Problem):
    """The token is missing, wrong, or has too little scope."""


class NotFound(Problem):
    """There is nothing of this id, or it belongs to somebody else."""


class Overloaded(Problem):
    """A limit is reached."""


class ServerError(Problem):
    """The server or something behind it failed."""


_KINDS: dict[int, type[Problem]] = {
    400: Invalid, 409: Invalid, 422: Invalid, 401: Unauthorized, 403: Unauthorized, 404: NotFound,
    410: NotFound, 429: Overloaded,
}


def problem(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """The exception for a refusal, with a problem body or (from a proxy in front) some other one."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    kind = _KINDS.get(status) or (ServerError if status >= 500 else Problem)
    detail = said.get("detail")
    return kind(
        status, str(said.get("code") or f"http_{status}"), str(said.get("title") or f"HTTP {status}"),
        detail if isinstance(detail, str) else "", retry_after(headers.get("retry-after")),
    )


def retry_after(value: str | None) -> float | None:
    """Seconds in a Retry-After header, which holds seconds or a date (RFC 9110 §10.2.3)."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
