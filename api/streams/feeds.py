"""Everything that is watched in one process: the feeds, by what they are of, and the logs that they share."""

from collections.abc import Callable, Iterable

from api.phases import encode, encode_end
from api.streams.feed import Feed, Log
from services.events import ENDS_SERVER, ENDS_STREAM, StoredEvent
from services.states import BUILD_ENDED


class Feeds:
    """Of a launch there are up to two: one ends when its server is ready, the other (`whole`) when the server has ended."""

    def __init__(self, token: Callable[[str], str]) -> None:
        self._by: dict[str, tuple[Feed, ...]] = {}
        self.logs: dict[str, Log] = {}
        self._encode = lambda event, line: encode(event, line, token)

    def all(self) -> list[Feed]:
        """All feeds."""
        return [feed for feeds in self._by.values() for feed in feeds]

    def of(self, launch: str) -> tuple[Feed, ...]:
        """The feeds of one launch or build."""
        return self._by.get(launch, ())

    def find(self, launch: str, *, whole: bool = False) -> Feed | None:
        """The feed of a launch or a build, if there is one."""
        return next((feed for feed in self.of(launch) if whole == (feed.ends is ENDS_SERVER)), None)

    def begin(self, launch: str, *, whole: bool = False) -> Feed:
        """The feed of a launch."""
        return self.find(launch, whole=whole) or self._keep(Feed(launch, self._encode, ENDS_SERVER if whole else ENDS_STREAM))

    def begin_build(self, build: str) -> Feed:
        """The feed of a build by itself; without its log."""
        return self.find(build) or self._keep(Feed(build, encode_end, frozenset(BUILD_ENDED), of_build=True))

    def _keep(self, feed: Feed) -> Feed:
        self._by[feed.launch] = (*self.of(feed.launch), feed)
        return feed

    def offer(self, events: Iterable[StoredEvent]) -> list[Feed]:
        """Give news to the feeds that they are for; the feeds, each once."""
        touched: dict[Feed, None] = {}
        for event in events:
            for feed in self.of(event.launch):
                feed.offer(event)
                touched[feed] = None
        return list(touched)

    def forget(self, feed: Feed) -> None:
        """Let go of a feed that nobody watches (any more), and of its log if nobody else follows it."""
        if feed.live or feed.behind:
            return
        left = tuple(other for other in self.of(feed.launch) if other is not feed)
        if left:
            self._by[feed.launch] = left
        else:
            self._by.pop(feed.launch, None)
        found = feed.log
        feed.leave()
        self.release(found)

    def join(self, feed: Feed, build: str) -> Log:
        """The log of a build, which this feed follows from now on."""
        found = self.logs.get(build)
        if found is None:
            found = self.logs[build] = Log(build)
        found.feeds.add(feed)
        return found

    def release(self, found: Log | None) -> None:
        """Let go of a log that nobody follows any more."""
        if found is not None and not found.feeds and self.logs.get(found.build) is found:
            del self.logs[found.build]
