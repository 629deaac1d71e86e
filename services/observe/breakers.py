"""Breakers: one for each thing that this process depends on, which says whether it answers and when to ask it again.

After some failures in a row a breaker opens: callers are told at once what is wrong instead of finding it out by a time-out
each, and the other side, which may be on its knees, gets no storm of repeats. Once its pause is over one caller may try
(half open); what becomes of that try closes the breaker or doubles the pause. Pauses are blurred, so that many processes do
not come back at one moment. An answer that refuses us for now (429, Retry-After) is a pause too, and no failure.

The state is of one process. `states` has all of it for whoever shows it: heartbeats, `/metrics`, the page for operators.
"""

import random
import time
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from services.errors import DockyardError, Unreachable

T = TypeVar("T")

_THRESHOLD = 5  # failures in a row until it opens
_FIRST, _LONGEST = 1.0, 5.0  # seconds of the first and of the longest pause, which is what a recovery waits for
_PROBE = 20.0  # seconds
_CALM = 30.0  # seconds without trouble after which the next pause is a first one again
_MOST_HOSTS = 256

_all: "weakref.WeakSet[Breaker]" = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class State:
    """How one dependency stands. `ok` while it is asked as usual."""

    name: str
    state: str  # closed, open, half-open or paused
    reason: str  # the last failure, in words; empty while closed
    failures: int  # in a row
    opened: int  # times it has opened since the process began
    since: float  # when it came to this state, in seconds since the epoch
    wait: float  # seconds until it is asked again

    @property
    def ok(self) -> bool:
        """Whether it is asked as usual."""
        return self.state == "closed"


class Breaker:
    """One dependency of this process. `now` gives seconds of a steady clock."""

    def __init__(
        self, name: str, *, threshold: int = _THRESHOLD, longest: float = _LONGEST, patience: float = _PROBE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`patience`: seconds after which a try that nobody has told the end of is thought lost."""
        self.name = name
        self._threshold = threshold
        self._longest = longest
        self._tried_for = patience
        self._now = now
        self._failures = 0
        self._opened = 0
        self._reason = ""
        self._first = self._pause = min(_FIRST, longest)
        self._until: float | None = None  # open until then; None: closed
        self._probe: float | None = None  # when the present try began
        self._patience = 0.0  # paused until then
        self._closed_at = -_CALM
        self._since = time.time()
        _all.add(self)

    def wait(self) -> float:
        """Seconds until a call may be made; 0: now. In half-open state one caller gets a 0, which makes it the one who tries."""
        now = self._now()
        if now < self._patience:
            return self._patience - now
        if self._until is None:
            return 0.0
        if now < self._until:
            return self._until - now
        if self._probe is not None and now - self._probe < self._tried_for:
            return self._first
        self._probe = now
        return 0.0

    async def ask(self, call: Callable[[], Awaitable[T]], counts: Callable[[Unreachable], bool] = lambda _: True) -> T:
        """What `call` gives; `Unreachable` at once while it is open. `counts` tells which `Unreachable` says that it is away."""
        if wait := self.wait():
            raise Unreachable(f"{self._reason or f'{self.name} does not answer.'} It is asked again in {max(wait, 1.0):.0f} s.")
        try:
            result = await call()
        except Unreachable as error:
            if counts(error):
                self.failed(error.sentence)
            else:
                self.succeeded()
            raise
        except DockyardError:
            self.succeeded()
            raise
        except BaseException:
            self.abandoned()
            raise
        self.succeeded()
        return result

    def succeeded(self) -> None:
        """It has answered."""
        if self._until is not None:
            self._since, self._closed_at = time.time(), self._now()
        self._failures, self._reason, self._until, self._probe = 0, "", None, None

    def failed(self, reason: str) -> None:
        """It has not answered, or has failed itself."""
        self._failures += 1
        self._reason = reason
        if self._until is None and self._failures < self._threshold:
            return
        now = self._now()
        if self._until is not None and self._probe is None and now < self._until:
            return  # A call that was under way when it opened says nothing new.
        if self._until is None:
            self._opened, self._since = self._opened + 1, time.time()
            if now - self._closed_at > _CALM:
                self._pause = self._first
        self._until = now + self._pause * random.uniform(0.7, 1.3)  # noqa: S311 - to spread, not to hide
        self._pause = min(self._pause * 2, self._longest)
        self._probe = None

    def refused(self, seconds: float, reason: str) -> None:
        """It wants to be left alone for so many seconds."""
        self.succeeded()
        self._patience, self._reason, self._since = max(self._patience, self._now() + seconds), reason, time.time()

    def abandoned(self) -> None:
        """The try has ended without an answer, because the caller was cancelled."""
        self._probe = None

    @property
    def half_open(self) -> bool:
        """Whether its pause is over and nobody knows yet whether it answers again."""
        return self._until is not None and self._now() >= self._until

    def state(self) -> State:
        """How it stands now."""
        now = self._now()
        if now < self._patience:
            word, wait = "paused", self._patience - now
        elif self._until is None:
            word, wait = "closed", 0.0
        elif now < self._until:
            word, wait = "open", self._until - now
        else:
            word, wait = "half-open", 0.0
        return State(self.name, word, "" if word == "closed" else self._reason, self._failures, self._opened, self._since, wait)


class PerHost:
    """A breaker for each host that strangers name; those that were not used for the longest time are forgotten."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()

    def of(self, host: str) -> Breaker:
        """The breaker of a host."""
        found = self._breakers.get(host)
        if found is None:
            found = self._breakers[host] = Breaker(f"{self._kind} {host[:100]}")
        self._breakers.move_to_end(host)
        while len(self._breakers) > _MOST_HOSTS:
            self._breakers.popitem(last=False)
        return found


_ORDER = {"closed": 0, "paused": 1, "half-open": 2, "open": 3}


def states() -> list[State]:
    """All dependencies of this process by name; of several breakers of one name the worst."""
    found: dict[str, State] = {}
    for breaker in tuple(_all):
        state = breaker.state()
        before = found.get(state.name)
        if before is None or _ORDER[state.state] > _ORDER[before.state]:
            found[state.name] = state
    return [found[name] for name in sorted(found)]
