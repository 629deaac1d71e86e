"""The async client: carries out the conversations of `calls` over httpx.AsyncClient.

    async with AsyncClient("http://127.0.0.1:8000") as dockyard:
        launch = await dockyard.launches.create("https://github.com/norvig/pytudes")
        async for event in dockyard.launches.events(launch.id):
            print(event.message, end="")

The verbs and their arguments are those of `Client`. Leave an unfinished stream with `contextlib.aclosing`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
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

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._open: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes]

    async def carry_out(self, step: Step) -> Reply | bytes | None:
        """Do it, and say what came of it; raises httpx's errors."""
        if isinstance(step, Read):
            return await anext(self._chunks, b"")
        await self.close()
        if isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
            return None
        response = await self._http.send(
            outgoing(self._http, step), stream=step.stream, follow_redirects=step.method == "GET"
        )
        if step.stream and response.status_code == 200:
            self._open, self._chunks = response, response.aiter_bytes()
            return Reply(200, response.headers, b"")
        return Reply(response.status_code, response.headers, await response.aread())

    async def close(self) -> None:
        if self._open is not None:
            await self._open.aclose()
            self._open = None


class _Carrier:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def _run(self, turn: Turn[I, Any]) -> AsyncGenerator[I, None]:
        line = _Line(self._http)
        try:
            while (step := turn.step) is not None:
                if isinstance(step, Item):
                    yield step.value
                    turn.answer(None)
                    continue
                try:
                    came = await line.carry_out(step)
                except httpx.HTTPError as exc:
                    turn.lost(lost(exc))
                else:
                    turn.answer(came)
        finally:
            turn.close()
            await line.close()


def _result(make: Callable[P, Talk[Any, R]]) -> Callable[Concatenate[_Carrier, P], Coroutine[Any, Any, R]]:
    @wraps(make)
    async def verb(self: _Carrier, /, *args: P.args, **kwargs: P.kwargs) -> R:
        turn = Turn(make(*args, **kwargs))
        async for _ in self._run(turn):
            pass
        return turn.result

    return verb


def _items(make: Callable[P, Talk[I, None]]) -> Callable[Concatenate[_Carrier, P], AsyncGenerator[I, None]]:
    @wraps(make)
    def verb(self: _Carrier, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[I, None]:
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


class AsyncClient(_Carrier):
    """A connection to a server; the arguments are those of `Client`."""

    def __init__(
        self, base_url: str, token: str | None = None, *, timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(httpx.AsyncClient(transport=transport, **settings(base_url, token, timeout)))
        self.launches = Launches(self._http)
        self.builds = Builds(self._http)
        self.servers = Servers(self._http)

    stats = _result(calls.stats)
    binder = _items(calls.binder)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
