"""What the fan-out reads: events of launches, ends of builds, lines of logs, each once for all who watch."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from api.streams.feed import Feed, Log
from api.streams.feeds import Feeds
from api.streams.rows import builds_now, chunks_after, events_after
from services.db import Database
from services.errors import DockyardError
from services.tasks import end

log = structlog.get_logger()
_CHUNKS = 64  # read at a time: 16 MB of hostile logs


class Reader:
    """Reads for the feeds of one process; `news` is called with those that have more to say."""

    def __init__(self, db: Database, feeds: Feeds, news: Callable[[Iterable[Feed]], Awaitable[None]]) -> None:
        self._db = db
        self._feeds = feeds
        self._news = news
        self._unread: set[str] = set()
        self._reading: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            await end(self._reading)

    async def fill(self, feeds: list[Feed]) -> None:
        """Offer these feeds all that is new to them, in one query for launches and one for builds."""
        after: dict[str, int] = {}
        for feed in feeds:
            if not feed.of_build:
                after[feed.launch] = min(feed.event, after.get(feed.launch, feed.event))
        if after:
            self._feeds.offer(await events_after(self._db, after))
        builds = [feed for feed in feeds if feed.of_build]
        if builds:
            now = await builds_now(self._db, [feed.launch for feed in builds])
            for feed in builds:
                feed.heard = feed.heard or feed.launch in now
                if (ended := now.get(feed.launch)) is not None:
                    feed.offer(ended)

    def read_soon(self, build: str) -> None:
        """Read what is new in a build's log, together with others that are asked for meanwhile."""
        self._unread.add(build)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self.read_logs())

    async def read_logs(self) -> None:
        """Read until nothing is asked for any more."""
        while self._unread:
            wanted = {build: self._feeds.logs[build] for build in self._unread if build in self._feeds.logs}
            self._unread.clear()
            if not wanted:
                return
            try:
                await self._read(wanted)
            except DockyardError as error:
                log.warning("log_not_read", reason=error.sentence)  # The next poll reads it.
                return

    async def _read(self, wanted: dict[str, Log]) -> None:
        written = {build: item.wanted for build, item in wanted.items()}  # by commits before this read, which finds them
        while True:
            found = list(await chunks_after(self._db, {build: item.last for build, item in wanted.items()}, _CHUNKS))
            for build, chunk in found:
                wanted[build].add(chunk)
            await self._news({feed for build in {build for build, _ in found} for feed in wanted[build].feeds})
            if len(found) < _CHUNKS:
                break
        expired = [item for build, item in wanted.items() if item.last < written[build]]
        for item in expired:
            item.skip(written[item.build])
        if expired:
            await self._news({feed for item in expired for feed in item.feeds})
