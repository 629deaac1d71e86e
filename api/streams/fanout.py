"""The fan-out: this process reads news once and writes it to everybody who watches.

One task listens for wake-ups; they carry the events, so that the common case needs no query. A second one looks at
the rows of everything that is watched, every few seconds while wake-ups come and every second while they do not,
since wake-ups may be lost. Log lines are read once per wake-up of a build and encoded once. The broadcast yields
every few hundred watchers, so that requests are served in between. """

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from api.streams.feed import Feed, Log
from api.streams.position import Position
from api.streams.replay import history
from api.streams.rows import chunks_after, events_after
from api.streams.watcher import Watcher
from services.db import Database
from services.errors import DockyardError
from services.events import StoredEvent, WakeListener
from services.queue import Redis
from services.tasks import end

log = structlog.get_logger()
_YIELD = 200  # watchers written to before other tasks run
_KEEPALIVE = 20.0  # seconds; clients and proxies give up after 30 or more
_POLL = 1.0
_PAUSE, _TRIES = 0.05, 100  # seconds, and how often, that a returning watcher waits for its feed
_CHUNKS = 64  # read at a time: 16 MB of hostile logs
_POLLS_WITH_WAKE = 5  # with wake-ups, every fifth poll looks at the rows


class Fanout:
    """All streams of one process."""

    def __init__(self, db: Database, redis: Redis, token: Callable[[str], str], hold: float) -> None:
        self._db = db
        self._redis = redis
        self._token = token
        self._hold = hold
        self._feeds: dict[str, Feed] = {}
        self._logs: dict[str, Log] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._unread: set[str] = set()
        self.watchers = 0

    def start(self) -> None:
        """Begin to listen. A task that dies takes the process along: it must not serve streams that never move."""
        for work in (self._listen, self._poll, self._keep_alive):
            self._spawn(self._vital(work))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _vital(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await work()
            except DockyardError as error:
                log.warning("fanout_interrupted", reason=error.sentence)
            except Exception:
                log.exception("fanout_failed")
            await asyncio.sleep(_POLL)

    async def aclose(self) -> None:
        """Stop; open streams stay where they are and are resumed elsewhere."""
        await end(*self._tasks)

    def feeds(self) -> list[Feed]:
        """All launches that are watched here."""
        return list(self._feeds.values())

    # -- watchers --------------------------------------------------------------------------------------------

    def begin(self, launch: str, known: Iterable[StoredEvent] = ()) -> Feed:
        """The feed of a launch. Whoever creates a launch calls this before, so that no news of it is missed."""
        feed = self._feeds.get(launch)
        if feed is None:
            feed = self._feeds[launch] = Feed(launch, self._token)
        for event in known:
            feed.offer(event)
        return feed

    def forget(self, feed: Feed) -> None:
        """Nobody watches this feed (any more)."""
        if feed.live or feed.behind:
            return
        if self._feeds.get(feed.launch) is feed:
            del self._feeds[feed.launch]
        found = feed.log
        feed.leave()
        self._release(found)

    def _release(self, found: Log | None) -> None:
        """Let go of a log that nobody follows any more."""
        if found is not None and not found.feeds and self._logs.get(found.build) is found:
            del self._logs[found.build]

    async def watch(self, feed: Feed, watcher: Watcher, start: Position) -> None:
        """Bring a watcher up to the feed's position and let it live there."""
        feed.behind.add(watcher)
        self._feeds.setdefault(feed.launch, feed)
        try:
            if feed.unknown:
                await self._fill([feed])
            start = await self._reach(feed, watcher, start)
            while start != feed.position and not watcher.closed:
                stop = feed.position
                async for block in history(self._db, feed.launch, start, stop, self._token, feed.recall(start)):
                    await watcher.write(block)
                start = stop
        except (TimeoutError, OSError, DockyardError):
            watcher.drop()
        feed.behind.discard(watcher)
        if watcher.closed:
            return
        feed.live.add(watcher)
        if feed.ended:
            watcher.finish(self._hold if feed.watched_build else 0)
        else:
            self._advance(feed)

    async def _reach(self, feed: Feed, watcher: Watcher, start: Position) -> Position:
        """Let the feed come to where a returning watcher is already: it may be new here, or hear later than another replica's.

        A position that never comes is none of ours; such a watcher goes on from where the feed is. The rows are read once:
        whoever was told of an event was told after its commit. """
        if start <= feed.position:
            return start
        await self._fill([feed])
        asked: Log | None = None
        for _ in range(_TRIES):
            self._advance(feed)
            if start <= feed.position or watcher.closed:
                return start
            if start.event > feed.newest:
                break
            if feed.log is not None and feed.log is not asked:
                asked = feed.log
                self._read_soon(asked.build)
            await asyncio.sleep(_PAUSE)
        return min(start, feed.position)

    def leave(self, feed: Feed, watcher: Watcher) -> None:
        """A connection has ended."""
        feed.live.discard(watcher)
        feed.behind.discard(watcher)
        self.forget(feed)

    def _join(self, feed: Feed, build: str) -> Log:
        found = self._logs.get(build)
        if found is None:
            found = self._logs[build] = Log(build)
            self._read_soon(build)
        found.feeds.add(feed)
        return found

    # -- news ------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async for news in WakeListener(self._redis).news():
            if news.lost:
                await self._look()
                continue
            touched: dict[str, Feed] = {}
            for event in news.events:
                feed = self._feeds.get(event.launch)
                if feed is not None:
                    feed.offer(event)
                    touched[event.launch] = feed
            for build, last in news.builds.items():
                found = self._logs.get(build)
                if found is not None and last > found.last:
                    found.wanted = max(found.wanted, last)
                    self._read_soon(build)
            gaps = [feed for feed in touched.values() if feed.gap]
            if gaps:
                await self._fill(gaps)
            await self._broadcast(touched.values())

    async def _poll(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(_POLL)
            count += 1
            if not self._redis.ok or count % _POLLS_WITH_WAKE == 0:
                await self._look()

    async def _look(self) -> None:
        """Read whatever is new for everybody who watches."""
        feeds = [feed for feed in self._feeds.values() if not feed.ended and (feed.live or feed.behind)]
        for start in range(0, len(feeds), 1000):
            await self._fill(feeds[start:start + 1000])
        await self._broadcast(feeds)
        for found in list(self._logs.values()):
            self._release(found)
        for build in self._logs:
            self._read_soon(build)

    async def _fill(self, feeds: list[Feed]) -> None:
        for event in await events_after(self._db, {feed.launch: feed.event for feed in feeds}):
            feed = self._feeds.get(event.launch)
            if feed is not None:
                feed.offer(event)

    def _read_soon(self, build: str) -> None:
        self._unread.add(build)
        if self._reading is None or self._reading.done():
            self._reading = self._spawn(self._read_logs())

    async def _read_logs(self) -> None:
        while self._unread:
            wanted = {build: self._logs[build] for build in self._unread if build in self._logs}
            self._unread.clear()
            if not wanted:
                return
            try:
                await self._read(wanted)
            except DockyardError as error:
                log.warning("log_not_read", reason=error.sentence)  # The next poll reads it.
                return

    async def _read(self, wanted: dict[str, Log]) -> None:
        while True:
            found = list(await chunks_after(self._db, {build: item.last for build, item in wanted.items()}, _CHUNKS))
            for build, chunk in found:
                wanted[build].add(chunk)
            await self._broadcast({feed for build in {build for build, _ in found} for feed in wanted[build].feeds})
            if len(found) < _CHUNKS:
                return

    # -- sending ---------------------------------------------------------------------------------------------

    async def _broadcast(self, feeds: Iterable[Feed]) -> None:
        written = 0
        for feed in list(feeds):
            if not feed.live and not feed.behind:
                continue  # What nobody has been told yet waits for the first watcher.
            self._advance(feed)
            written += len(feed.live) + 1
            if written >= _YIELD:
                written = 0
                await asyncio.sleep(0)

    def _advance(self, feed: Feed) -> None:
        """Say to the live watchers of one feed everything that can be said."""
        parts: list[bytes] = []
        before, followed = feed.position, feed.log
        for part in feed.steps(lambda build: self._join(feed, build)):
            if part is None:
                # The lines are not in memory: everybody is brought up on his own, from where he was.
                self._write(feed, parts)
                parts = []
                self._bring_up(feed, before)
            else:
                parts.append(part)
            before = feed.position
        if followed is not feed.log:
            self._release(followed)
        if feed.log is not None and feed.log.wanted > feed.log.last:
            self._read_soon(feed.log.build)
        self._write(feed, parts)

    def _write(self, feed: Feed, parts: list[bytes]) -> None:
        if not parts:
            return
        block = b"".join(parts)
        closes = feed.ended and not (feed.watched_build and self._hold > 0)
        for watcher in tuple(feed.live):
            if closes:
                watcher.finishing = True
                watcher.push(block, more=False)
            else:
                watcher.push(block)
                if feed.ended:
                    watcher.finish(self._hold)

    def _bring_up(self, feed: Feed, start: Position) -> None:
        live, feed.live = feed.live, set()
        for watcher in live:
            self._spawn(self.watch(feed, watcher, start))

    def goes_on(self, launch: str) -> bool:
        """Whether this process knows that the stream of a launch has not ended, and so that there is such a launch."""
        return (feed := self._feeds.get(launch)) is not None and feed.event > 0 and not feed.ended

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEPALIVE)
            for number, watcher in enumerate([watcher for feed in self.feeds() for watcher in feed.live], 1):
                watcher.push(b":keepalive\n\n")
                if number % _YIELD == 0:
                    await asyncio.sleep(0)
