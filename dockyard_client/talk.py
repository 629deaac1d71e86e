"""Conversations with a server, without a connection.

A conversation is a generator: it yields steps (send this, read on, wait) and is handed what came of them, so
everything that can be said is written once, and `client` carries it out over httpx in both colours. An `Item`
is what the conversation hands to its caller meanwhile; its return value is the result.
"""

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dockyard_client.errors import Unavailable, problem, retry_after

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - the item
R = TypeVar("R")
ATTEMPTS = 5  # of one request, where asking twice is safe
PATIENCE = 8.0  # seconds: the longest pause between two attempts
_chance = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Request:
    """Send a request; the answer is a `Reply`. With `stream`, a 200 is left open for `READ`."""

    method: str
    path: str  # below the base address, without a leading slash; already quoted
    query: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False
    safe: bool = True  # sending it twice does no more than sending it once


@dataclass(frozen=True, slots=True)
class Read:
    """Read on in the open stream: bytes, or b"" at its end."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Item(Generic[I]):
    """Hand this to the caller."""

    value: I


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `headers` have lower-case names, `body` is empty while a stream is open."""

    status: int
    headers: Mapping[str, str]
    body: bytes


READ = Read()
Step = Request | Read | Sleep
Talk = Generator[Step | Item[I], Any, R]


class Turn(Generic[I, R]):
    """Where a conversation stands: `step` is to be carried out next; when it is None, `result` is there."""

    def __init__(self, talk: Talk[I, R]) -> None:
        self.step: Step | Item[I] | None = None
        self.result: R
        self._talk = talk
        self.answer(None)

    def answer(self, came: Reply | bytes | None) -> None:
        """Hand over what came of the step."""
        try:
            self.step = self._talk.send(came)
        except StopIteration as end:
            self.step, self.result = None, end.value

    def lost(self, error: Unavailable) -> None:
        """Hand over that nothing came of it."""
        try:
            self.step = self._talk.throw(error)
        except StopIteration as end:
            self.step, self.result = None, end.value

    def close(self) -> None:
        """Leave the conversation where it is."""
        self._talk.close()


def pause(attempt: int, least: float = 0.2) -> float:
    """Seconds before attempt 2, 3, …: doubling, with chance, so that a crowd does not come back at once."""
    return min(PATIENCE, least * 2.0 ** (attempt - 2)) * _chance.uniform(0.5, 1.0)


def ask(request: Request) -> Talk[Any, Reply]:
    """Send until there is an answer worth having; raises `Unavailable` or a `Problem`.

    A request that is safe to repeat is repeated when nothing answers or a gateway says that nobody is there
    for now.
    """
    for attempt in range(1, ATTEMPTS + 1):
        last = attempt == ATTEMPTS or not request.safe
        try:
            reply: Reply = yield request
        except Unavailable:
            if last:
                raise
            yield Sleep(pause(attempt + 1))
            continue
        if reply.status < 300:
            return reply
        wait = retry_after(reply.headers.get("retry-after")) or 0.0
        if last or reply.status not in (502, 503, 504) or wait > PATIENCE:
            break
        yield Sleep(max(wait, pause(attempt + 1)))
    raise problem(reply.status, reply.headers, reply.body)


def call(request: Request, parse: Callable[[bytes], R]) -> Talk[Any, R]:
    """One request, one result."""
    reply = yield from ask(request)
    return parse(reply.body)
