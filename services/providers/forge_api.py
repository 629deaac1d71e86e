"""The REST API of a forge, asked as seldom as possible.

An answer is remembered with its ETag (asking again with it costs no part of the forge's limit), an absence
for five minutes, and one request serves everybody who wants the same at the same time. When the forge says
that its limit is spent, nothing more is asked until the time it names; the provider asks the git server
instead.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.egress import Answer, Fetcher, Rule
from services.errors import Forbidden, RateLimited, Unreachable
from services.providers.cache import Lru, Shared

_REMEMBERED = 1024
_ABSENT_SECONDS = 300.0
_LONGEST_PAUSE = 3600.0
_PAUSE = 60.0  # where the forge does not say for how long


@dataclass
class Absent(Exception):
    """The forge says that there is no such thing; the provider knows the sentence."""

    status: int
    message: str  # the forge's own word, such as "Not Found"


class ForgeApi:
    """One forge's API below `base`. `now` gives seconds since the epoch, as rate-limit headers do."""

    def __init__(
        self, name: str, base: str, rule: Rule, *, timeout: float, headers: Mapping[str, str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._base = base.rstrip("/")
        self._headers = dict(headers)
        self._now = now
        self._fetcher = Fetcher(rule, timeout=timeout)
        self._shared: Shared[str, Any] = Shared()
        self._known: Lru[str, tuple[str, Any]] = Lru(_REMEMBERED)
        self._absent: Lru[str, tuple[float, Absent]] = Lru(_REMEMBERED)
        self._paused_until = 0.0
        self.remaining: int | None = None  # requests left, as the forge said last

    async def get(self, path: str, extract: Callable[[Any], Any]) -> Any:
        """What `extract` finds in the answer to GET `path` (percent-encoded); only that is remembered.

        Raises `Absent`, `RateLimited`, `Forbidden` or `Unreachable`. `extract` may raise LookupError,
        TypeError or ValueError for an answer that is not what the forge's documentation promises.
        """
        return await self._shared.get(path, lambda: self._asked(path, extract))

    async def aclose(self) -> None:
        """Close connections."""
        await self._shared.aclose()
        await self._fetcher.aclose()

    async def _asked(self, path: str, extract: Callable[[Any], Any]) -> Any:
        known = self._known.get(path)
        if known is None and (absent := self._absent.get(path)) is not None:
            if self._now() < absent[0]:
                raise Absent(absent[1].status, absent[1].message)
            self._absent.drop(path)
        if self._now() < self._paused_until:
            raise self._limited()
        headers = self._headers | ({"If-None-Match": known[0]} if known else {})
        answer = await self._fetcher.get(f"{self._base}{path}", headers)
        self._count(answer)
        if answer.status == 304 and known is not None:
            return known[1]
        self._known.drop(path)
        if answer.status != 200:
            raise self._refusal(path, answer)
        try:
            value = extract(answer.json())
        except (LookupError, TypeError, ValueError) as error:
            raise Unreachable(f"{self._name} answered something unexpected; try again later.") from error
        if etag := answer.headers.get("etag"):
            self._known.put(path, (etag, value))
        return value

    def _count(self, answer: Answer) -> None:
        if (left := answer.headers.get("x-ratelimit-remaining", "")).isdecimal():
            self.remaining = int(left)

    def _refusal(self, path: str, answer: Answer) -> Exception:
        if answer.status in (404, 409, 410, 422):
            absent = Absent(answer.status, _message(answer))
            self._absent.put(path, (self._now() + _ABSENT_SECONDS, absent))
            return absent
        if answer.status == 429 or (
            answer.status == 403 and (self.remaining == 0 or "retry-after" in answer.headers)
        ):
            self._paused_until = self._now() + self._pause(answer.headers)
            return self._limited()
        if answer.status == 401:
            return Forbidden(
                f"{self._name} does not accept the token that this service is configured with; tell whoever runs it."
            )
        if answer.status in (403, 451):
            return Forbidden(f"{self._name} refuses to show this repository; it is private or blocked.")
        return Unreachable(f"{self._name} answers with an error of its own ({answer.status}); try again later.")

    def _pause(self, headers: Mapping[str, str]) -> float:
        """Seconds until the forge wants to be asked again."""
        if (wait := headers.get("retry-after", "")).isdecimal():
            seconds = float(wait)
        else:
            reset = headers.get("x-ratelimit-reset", headers.get("ratelimit-reset", ""))
            seconds = float(reset) - self._now() if reset.isdecimal() else _PAUSE
        return min(max(seconds, 1.0), _LONGEST_PAUSE)

    def _limited(self) -> RateLimited:
        minutes = 5 * math.ceil(max(self._paused_until - self._now(), 1.0) / 300)
        return RateLimited(f"{self._name} rate limit exceeded. Try again in {minutes} minutes.")


def _message(answer: Answer) -> str:
    try:
        found = answer.json()
    except Unreachable:
        return ""
    return str(found.get("message", ""))[:200] if isinstance(found, dict) else ""
