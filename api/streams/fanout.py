"""The fan-out: this process reads news once and writes it to everybody who watches.

One task listens for wake-ups; they carry the events, so that the common case needs no query. A second one looks at
the rows of everything that is watched, every few seconds while wake-ups come and every second while they do not,
since wake-ups may be lost. Log lines are read once per wake-up of a build and encoded once. What is told of a build alone goes
the same way. The broadcast yields every few hundred watchers, so that requests are served in between. """

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from api.streams.feed import Feed, Log
from api.streams.feeds import Feeds
from api.streams.position import Position
from api.streams.reader import Reader
from api.streams.replay import history
from api.streams.watcher import Watcher
from services.db import Database
from services.errors import DockyardError
from services.events import ENDS_STREAM, StoredEvent, WakeListener
from services.queue import Redis
from services.tasks import end

log = structlog.get_logger()
_YIELD = 200  # watchers written to before other tasks run
_KEEPALIVE = 20.0  # seconds; clients and proxies give up after 30 or more
_POLL = 1.0
_PAUSE, _TRIES = 0.05, 100  # seconds, and how often, that a returning watcher waits for its feed
_POLLS_WITH_WAKE = 5  # with wake-ups, every fifth poll looks at the rows


class Fanout:
    """All streams of one process."""

    def __init__(self, db: Database, redis: Redis, token: Callable[[str], str], hold: float) -> None:
        self._db = db
        self._redis = redis
        self._hold = hold
        self._feeds = Feeds(token)
        self._reader = Reader(db, self._feeds, self._broadcast)
        self._tasks: set[asyncio.Task[None]] = set()
        self.watchers = 0
        self.networks: Counter[str] = Counter()  # watchers by network, where there is a bound on them

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
        await self._reader.aclose()

    def feeds(self) -> list[Feed]:
        """All launches and builds that are watched here."""
        return self._feeds.all()

    def count(self, network: str, by: int) -> None:
        """A connection has come (1) or gone (-1)."""
        self.watchers += by
        if network:
            self.networks[network] += by
            if not self.networks[network]:
                del self.networks[network]

    # -- watchers --------------------------------------------------------------------------------------------

    def begin(self, launch: str, known: Iterable[StoredEvent] = (), *, whole: bool = False) -> Feed:
        """The feed of a launch, until its server is ready or (`whole`) has ended.

        Whoever creates a launch calls this before, so that no news of it is missed.
        """
        feed = self._feeds.begin(launch, whole=whole)
        for event in known:
            feed.offer(event)
        return feed

    def begin_build(self, build: str) -> Feed:
        """The feed of a build by itself: its log, then its end."""
        feed = self._feeds.begin_build(build)
        if feed.log is None and not feed.ended:
            feed.log = self._join(feed, build)
        return feed

    def forget(self, feed: Feed) -> None:
        """Nobody watches this feed (any more)."""
        self._feeds.forget(feed)

    def current(self, feed: Feed) -> Feed:
        """This feed, or another of the same if it has been forgotten since it was begun: whoever had watched it was gone."""
        if feed in self._feeds.of(feed.launch):
            return feed
        return self.begin_build(feed.launch) if feed.of_build else self.begin(feed.launch, whole=feed.ends is not ENDS_STREAM)

    async def watch(self, feed: Feed, watcher: Watcher, start: Position) -> None:
        """Bring a watcher up to the feed's position and let it live there; the feed is a current one."""
        feed.behind.add(watcher)
        try:
            if not feed.heard:
                await self._reader.fill([feed])
            start = await self._reach(feed, watcher, start)
            while start != feed.position and not watcher.closed:
                stop = feed.position
                async for block in history(self._db, feed.past(start, stop), feed.encode, feed.recall(start)):
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

        An event that there is not is none of ours; such a watcher goes on from where the feed is. The rows are read once: whoever was
        told of an event was told after its commit. Where the feed does not get there in time (its log cannot be read), the watcher comes
        back: what it has been told already must not be told again. Raises `TimeoutError` then. """
        if start <= feed.position:
            return start
        await self._reader.fill([feed])
        asked: Log | None = None
        for _ in range(_TRIES):
            self._advance(feed)
            if start <= feed.position or watcher.closed:
                return start
            if start.event > feed.newest:
                return min(start, feed.position)
            if feed.log is not None and feed.log is not asked:
                asked = feed.log
                self._reader.read_soon(asked.build)
            await asyncio.sleep(_PAUSE)
        raise TimeoutError

    def leave(self, feed: Feed, watcher: Watcher) -> None:
        """A connection has ended."""
        feed.live.discard(watcher)
        feed.behind.discard(watcher)
        self.forget(feed)

    def _join(self, feed: Feed, build: str) -> Log:
        if build not in self._feeds.logs:
            self._reader.read_soon(build)
        return self._feeds.join(feed, build)

    # -- news ------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async for news in WakeListener(self._redis).news():
            if news.lost:
                await self._look()
                continue
            touched = self._feeds.offer(news.events)
            for build, last in news.builds.items():
                found = self._feeds.logs.get(build)
                if found is not None and last > found.last:
                    found.wanted = max(found.wanted, last)
                    self._reader.read_soon(build)
            gaps = [feed for feed in touched if feed.gap]
            if gaps:
                await self._reader.fill(gaps)
            await self._broadcast(touched)

    async def _poll(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(_POLL)
            count += 1
            if not self._redis.ok or count % _POLLS_WITH_WAKE == 0:
                await self._look()

    async def _look(self) -> None:
        """Read whatever is new for everybody who watches."""
        feeds = [feed for feed in self.feeds() if not feed.ended and (feed.live or feed.behind)]
        for start in range(0, len(feeds), 1000):
            await self._reader.fill(feeds[start:start + 1000])
        await self._broadcast(feeds)
        for found in list(self._feeds.logs.values()):
            self._feeds.release(found)
        for build in self._feeds.logs:
            self._reader.read_soon(build)

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
            self._feeds.release(followed)
        if feed.log is not None and feed.log.wanted > feed.log.last:
            self._reader.read_soon(feed.log.build)
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
        feed.behind |= live  # at once: a feed that nobody watches is forgotten
        for watcher in live:
            self._spawn(self.watch(feed, watcher, start))

    def goes_on(self, launch: str, *, whole: bool = False) -> bool:
        """Whether this process knows that the stream of a launch or build has not ended, and so that there is one."""
        feed = self._feeds.find(launch, whole=whole)
        return feed is not None and feed.heard and not feed.ended

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEPALIVE)
            for number, watcher in enumerate([watcher for feed in self.feeds() for watcher in feed.live], 1):
                watcher.push(b":keepalive\n\n")
                if number % _YIELD == 0:
                    await asyncio.sleep(0)
