"""The blocking client: carries out the conversations of `calls` over httpx.Client.

    with Client("http://127.0.0.1:8000") as dockyard:
        launch = dockyard.launches.create("https://github.com/norvig/pytudes")
        for event in dockyard.launches.events(launch.id):
            print(event.message, end="")
        print(dockyard.launches.get(launch.id).location)

`AsyncClient` has the same verbs, to be awaited.
"""

import time
from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from dockyard_client import calls
from dockyard_client.connection import lost, outgoing, settings
from dockyard_client.talk import Item, Read, Reply, Sleep, Step, Talk, Turn

P = ParamSpec("P")
I = TypeVar("I")  # noqa: E741 - the item
R = TypeVar("R")


class _Line:
    """One conversation's connection: at most one open stream."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._open: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def carry_out(self, step: Step) -> Reply | bytes | None:
        """Do it, and say what came of it; raises httpx's errors."""
        if isinstance(step, Read):
            return next(self._chunks, b"")
        self.close()
        if isinstance(step, Sleep):
            time.sleep(step.seconds)
            return None
        response = self._http.send(
            outgoing(self._http, step), stream=step.stream, follow_redirects=step.method == "GET"
        )
        if step.stream and response.status_code == 200:
            self._open, self._chunks = response, response.iter_bytes()
            return Reply(200, response.headers, b"")
        return Reply(response.status_code, response.headers, response.read())

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


class _Carrier:
    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def _run(self, turn: Turn[I, Any]) -> Iterator[I]:
        line = _Line(self._http)
        try:
            while (step := turn.step) is not None:
                if isinstance(step, Item):
                    yield step.value
                    turn.answer(None)
                    continue
                try:
                    came = line.carry_out(step)
                except httpx.HTTPError as exc:
                    turn.lost(lost(exc))
                else:
                    turn.answer(came)
        finally:
            turn.close()
            line.close()


def _result(make: Callable[P, Talk[Any, R]]) -> Callable[Concatenate[_Carrier, P], R]:
    @wraps(make)
    def verb(self: _Carrier, /, *args: P.args, **kwargs: P.kwargs) -> R:
        turn = Turn(make(*args, **kwargs))
        for _ in self._run(turn):
            pass
        return turn.result

    return verb


def _items(make: Callable[P, Talk[I, None]]) -> Callable[Concatenate[_Carrier, P], Iterator[I]]:
    @wraps(make)
    def verb(self: _Carrier, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[I]:
        return self._run(Turn(make(*args, **kwargs)))

    return verb


class Launches(_Carrier):
    """The verbs of launches."""

    create = _result(calls.create_launch)
    get = _result(calls.get_launch)
    list = _result(calls.list_launches)
    each = _items(calls.each_launch)
    events = _items(calls.launch_events)
    wait = _result(calls.wait_launch)
    cancel = stop = _result(calls.cancel_launch)


class Builds(_Carrier):
    """The verbs of builds."""

    get = _result(calls.get_build)
    list = _result(calls.list_builds)
    each = _items(calls.each_build)
    events = _items(calls.build_events)
    log = _result(calls.build_log)
    cancel = _result(calls.cancel_build)


class Servers(_Carrier):
    """The verbs of servers."""

    list = _result(calls.list_servers)
    each = _items(calls.each_server)
    stop = _result(calls.stop_server)


class Client(_Carrier):
    """A connection to a server; `base_url` includes the base path, if it has one.

    Args:
        base_url: such as "http://127.0.0.1:8000".
        token: an API token, where the server wants one.
        timeout: seconds for connecting and for each answer.
        transport: another way to carry requests, such as httpx.MockTransport.

    """

    def __init__(
        self, base_url: str, token: str | None = None, *, timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(httpx.Client(transport=transport, **settings(base_url, token, timeout)))
        self.launches = Launches(self._http)
        self.builds = Builds(self._http)
        self.servers = Servers(self._http)

    stats = _result(calls.stats)
    binder = _items(calls.binder)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
