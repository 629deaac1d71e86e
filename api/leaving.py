"""How an api process leaves: it says first that it is not ready any more, then lets its streams go, then ends.

Between the first and the second it serves as before, for `front.leave` seconds, in which load balancers notice. Streams are
ended after a whole event, with a pause to come back after that is another one for each: every reader names the last event that it has
seen and goes on at another replica, or at this one's successor, without loss or repetition.
"""

import asyncio
import random
from types import FrameType

import structlog
import uvicorn

from api.streams import Fanout

log = structlog.get_logger()
_EMPTY = 0.05  # seconds between looks whether the streams have gone


class Leaving:
    """Whether this process is leaving, for whoever has to know."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause  # seconds from saying so to letting streams go
        self.begun = False
        self.fanout: Fanout | None = None  # whose streams these are

    async def leave(self) -> None:
        """Wait for the pause, and let the streams go; returns when all have gone."""
        log.info("process_leaves", seconds=self.pause)
        await asyncio.sleep(self.pause)
        while self.fanout is not None and self.fanout.watchers:
            let_go(self.fanout)
            await asyncio.sleep(_EMPTY)


def let_go(fanout: Fanout) -> None:
    """End every stream that has told all that it knows; those that are still being brought up to date, the next time."""
    for watcher in [watcher for feed in fanout.feeds() for watcher in feed.live if not watcher.closed]:
        # Come back, but not all at the same moment.
        watcher.push(b"retry: %d\n\n" % random.randint(300, 2500))  # noqa: S311 - to spread, not to hide
        watcher.push(b"", more=False)


class Server(uvicorn.Server):
    """uvicorn, which at the first signal leaves first; at the second it stops at once."""

    def __init__(self, config: uvicorn.Config, leaving: Leaving, patience: float) -> None:
        super().__init__(config)
        self._leaving, self._patience = leaving, patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """As uvicorn's; the loop is remembered for the signal handler."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)  # type: ignore[arg-type]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in a signal handler."""
        if self._leaving.begun or self._loop is None:
            super().handle_exit(sig, frame)
            return
        self._leaving.begun = True
        self._loop.call_soon_threadsafe(self._begin, sig)

    def _begin(self, sig: int) -> None:
        self._task = asyncio.ensure_future(self._leave(sig))

    async def _leave(self, sig: int) -> None:
        try:
            async with asyncio.timeout(self._leaving.pause + self._patience):
                await self._leaving.leave()
        except TimeoutError:
            log.warning("streams_left", reason="Some readers did not go in time.")
        finally:
            super().handle_exit(sig, None)
