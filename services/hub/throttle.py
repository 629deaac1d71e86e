"""How many launches may be under way at the hub, judged by how it answers.

A hub is one process that slows down long before it fails, and what is asked of it twice makes it slower still. So the number
is found as TCP finds it: it grows by one with every server that gets ready up to where trouble was met last, and by one per
round beyond; it is halved, at most once a moment, when the hub refuses (429), fails (5xx, 401, 403) or takes longer than `slow` for an
answer. A `Retry-After` is honoured: nothing is started until then. A hub that does not answer at all opens the breaker, and
then one caller asks now and then (see `services.observe.breakers`). All of it is the view of one process.
"""

import time
from collections.abc import Callable

from services.observe.breakers import Breaker

_MOMENT = 1.0  # seconds in which trouble counts once: it is met by many calls at the same time
_LONGEST = 4.0  # seconds that the breaker stays open at most; a try costs the hub one small request
_AFTER = 4  # launches that begin at once when the hub is back
_WEIGHT = 0.2  # of the newest answer in the mean


class Throttle:
    """The limit of one process, and the breaker of its hub. `now` gives seconds of a steady clock."""

    def __init__(self, most: int, *, slow: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._slow = slow
        self._now = now
        self.breaker = Breaker("JupyterHub", threshold=3, longest=_LONGEST, now=now)
        self.limit = float(most)
        self._ceiling = float(most)
        self._quiet_until = 0.0  # trouble before then belongs to what has been counted
        self.latency = 0.0  # seconds, weighted mean
        self.losses = 0  # answers that did not come, ever

    def room(self) -> int:
        """How many launches may be under way now; 0 while the hub is away or wants to be left alone."""
        return max(1, int(self.limit)) if self.breaker.state().ok else 0

    def answered(self, status: int, seconds: float | None, retry_after: int | None = None) -> None:
        """The hub has answered; `seconds` where the time tells something of the hub."""
        if status == 429:
            self._trouble(0.5)
            self.breaker.refused(float(retry_after or 1), "JupyterHub starts as many servers as it can.")
            return
        if status in (401, 403):
            self.lost("JupyterHub does not accept the token of the setting hub.token: it is wrong, or JupyterHub is in trouble.")
            return
        if status >= 500:
            self.lost(f"JupyterHub answers {status}.")
            return
        self.breaker.succeeded()
        if seconds is not None:
            self.latency += _WEIGHT * (seconds - self.latency)
            if self.latency > self._slow:
                self._trouble(0.7)

    def lost(self, reason: str) -> None:
        """There was no answer, or one that says that the hub itself is in trouble."""
        self.losses += 1
        self.breaker.failed(reason)
        self._trouble(0.5)
        if self.breaker.state().state == "open":
            self.limit = min(self.limit, float(_AFTER))

    def ready(self) -> None:
        """A server has got ready."""
        self.limit = min(self._most, self.limit + (1.0 if self.limit < self._ceiling else 1.0 / self.limit))

    def _trouble(self, share: float) -> None:
        if self._now() >= self._quiet_until:
            self._quiet_until = self._now() + _MOMENT
            self.limit = max(1.0, self.limit * share)
            self._ceiling = self.limit
