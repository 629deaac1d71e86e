"""The response of a stream: an ordinary path operation returns it, and it speaks raw ASGI.

It keeps routing and dependencies of FastAPI and leaves out the task group and the second task per request that
`StreamingResponse` costs. The request's own task only waits for the other side to go.
"""

import asyncio
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.streams.fanout import Fanout
from api.streams.feed import Feed
from api.streams.position import Position
from api.streams.watcher import Watcher

HEADERS = [
    (b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"),
]
_RETRY = b"retry: 1000\n\n"
_NEVER = 24 * 3600  # seconds


class EventStream(Response):
    """The stream of one launch or build from a position on."""

    def __init__(
        self, fanout: Fanout, feed: Feed, start: Position, network: str = "", headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = [*HEADERS, *((k.lower().encode(), v.encode()) for k, v in (headers or {}).items())]
        self._fanout = fanout
        self._feed = feed
        self._start = start
        self._network = network  # in which it counts; empty: in none

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the stream has ended or the other side has gone."""
        if scope["method"] == "HEAD":
            self._fanout.forget(self._feed)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
            return
        task = asyncio.current_task()
        watcher = Watcher(send, task.cancel if task is not None else lambda: None)
        feed = self._feed
        self._fanout.count(self._network, 1)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            watcher.push(_RETRY)
            feed = self._fanout.current(feed)
            await self._fanout.watch(feed, watcher, self._start)
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not watcher.dropped:
                raise
        finally:
            self._fanout.count(self._network, -1)
            watcher.gone()
            self._fanout.leave(feed, watcher)


class OneEvent(Response):
    """A stream that says one thing and ends: what is refused before a launch begins.

    An EventSource that nobody closes asks again: when `retry-after` says, otherwise in a day, which is never.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        headers = dict(headers or {})
        pause = int(headers.get("retry-after", _NEVER)) * 1000
        super().__init__(b"retry: %d\n%b" % (pause, body), headers=headers, media_type="text/event-stream")
        self.headers["cache-control"] = "no-cache"
