"""One open connection that is being written to.

The broadcaster writes for everybody: it starts each connection's `send` itself and needs no task per watcher as long
as the connection takes what it gets. uvicorn's `send` suspends only to wait until the write side is open again,
before it has written anything; so a `send` that suspends is dropped and its message sent again by a task, under a
time limit. Whoever does not read is closed with his position, which he names when he comes back; nothing is dropped
in between and nothing is buffered without limit. """

import asyncio
from collections import deque
from collections.abc import Callable

from starlette.types import Send

PATIENCE = 20.0  # seconds that a connection may stay closed for writing
_PENDING = 1 << 20  # bytes that wait for one connection


class Watcher:
    """A connection's sending side."""

    __slots__ = ("_drain", "_held", "_on_drop", "_pending", "_send", "_size", "closed", "dropped", "finishing")

    def __init__(self, send: Send, on_drop: Callable[[], object]) -> None:
        self._send = send
        self._on_drop = on_drop
        self._pending: deque[tuple[bytes, bool]] = deque()
        self._size = 0
        self._drain: asyncio.Task[None] | None = None
        self._held: asyncio.TimerHandle | None = None
        self.closed = False
        self.dropped = False
        self.finishing = False

    def push(self, body: bytes, more: bool = True) -> None:
        """Send without waiting; closes the connection if too much waits already."""
        if self.closed:
            return
        if self._drain is not None:
            self._pending.append((body, more))
            self._size += len(body)
            if self._size > _PENDING:
                self.drop()
            return
        step = self._send({"type": "http.response.body", "body": body, "more_body": more})
        try:
            step.send(None)  # type: ignore[attr-defined]
        except StopIteration:
            self.closed = self.closed or not more
        except OSError:
            self.drop()
        else:
            step.close()  # type: ignore[attr-defined]
            self._pending.append((body, more))
            self._size += len(body)
            self._drain = asyncio.get_running_loop().create_task(self._sending())

    async def _sending(self) -> None:
        try:
            while self._pending:
                body, more = self._pending[0]
                async with asyncio.timeout(PATIENCE):
                    await self._send({"type": "http.response.body", "body": body, "more_body": more})
                self._pending.popleft()
                self._size -= len(body)
                self.closed = self.closed or not more
        except (TimeoutError, OSError):
            self.drop()
        finally:
            self._drain = None

    async def write(self, body: bytes) -> None:
        """Send and wait until the connection has taken it; for a replay, which nobody else waits for. May raise
        `TimeoutError`.
        """
        async with asyncio.timeout(PATIENCE):
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    def finish(self, hold: float) -> None:
        """The stream has ended: close it now, or after `hold` seconds so that an old client does not come back for
        more.
        """
        if self.finishing or self.closed:
            return
        self.finishing = True
        if hold <= 0:
            self.push(b"", more=False)
        else:
            self._held = asyncio.get_running_loop().call_later(hold, self.push, b"", False)

    def drop(self) -> None:
        """Give the connection up; the reader comes back with its position."""
        if not self.closed:
            self._pending.clear()
            self.closed = self.dropped = True
            self._on_drop()

    def gone(self) -> None:
        """The other side has closed."""
        self.closed = True
        if self._held is not None:
            self._held.cancel()
        if self._drain is not None:
            self._drain.cancel()
