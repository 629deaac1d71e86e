"""Launches and faults at the same time, in an order that a seed decides, and what came of them.

The seed gives the order, the kinds and the lengths of faults, and what each client asks for; so a seed that fails is run
again as it was, as far as a machine does the same thing twice.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from tests.faults.asks import Ask, Asks, FakeAsks
from tests.faults.checker import check, settled
from tests.faults.client import Story, follow, stop, use
from tests.faults.faults import Faults
from tests.faults.place import Place
from tests.faults.reality import FakeReality
from tests.faults.watch import TakeOver, Watch


@dataclass
class Outcome:
    """What a run has seen; `wrong` is empty where everything held."""

    faults: Counter[str] = field(default_factory=Counter)
    stories: list[Story] = field(default_factory=list)
    used: int = 0  # servers that answered and were stopped
    takeovers: list[TakeOver] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # fault -> seconds until a launch was ready
    ended: Counter[str] = field(default_factory=Counter)  # parts that ended by themselves
    looks: Counter[str] = field(default_factory=Counter)  # of the watch, that have come to their end
    reasons: Counter[str] = field(default_factory=Counter)  # why sound repositories failed
    wrong: list[str] = field(default_factory=list)

    @property
    def ends(self) -> Counter[str]:
        """How many launches ended how."""
        return Counter(story.end or "no end" for story in self.stories)


class Driver:
    """One run at one place.

    `rest`: seconds that things get in the end; `patience`: that one launch gets; `breakers`: faults at a time.
    """

    def __init__(
        self, place: Place, seed: int, *, asks: Asks | None = None, clients: int = 6, rest: float = 120.0, patience: float = 300.0,
        breakers: int = 2,
    ) -> None:
        self._place = place
        self._asks = asks or FakeAsks(seed)
        self._clients = clients
        self._rest, self._patience, self._breakers = rest, patience, breakers
        self._cancelled: set[str] = set()  # repositories whose launches their clients cancel
        self.watch = Watch(place)
        self._faults = Faults(place, seed, self.watch)
        self.outcome = Outcome(faults=self._faults.counts)

    async def run(self, seconds: float, *, ready: int = 0) -> Outcome:
        """Launch and break for so many seconds, and until so many launches have become ready; let everything come to rest, and check."""
        ended = asyncio.Event()

        async def over() -> None:
            await asyncio.sleep(seconds)
            while self.outcome.ends["ready"] < ready:
                await asyncio.sleep(0.2)
            ended.set()

        async with self.launching(ended) as client:
            await asyncio.gather(over(), *[self._break(client, ended) for _ in range(self._breakers)])
        return self.outcome

    async def known(self, client: httpx.AsyncClient) -> Story:
        """One launch of an image that exists."""
        return await self._launch(client, await self._asks.known())

    @contextlib.asynccontextmanager
    async def launching(self, ended: asyncio.Event) -> AsyncIterator[httpx.AsyncClient]:
        """Clients launch until `ended`; at the end of the block everything comes to rest and is checked."""
        outcome = self.outcome
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._place.port}", trust_env=False, limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=0)) as client:
            await self._launch(client, await self._asks.known(), patience=4 * self._patience)  # it may have to fetch and push a base image
            watching = asyncio.create_task(self.watch.run())
            clients = [asyncio.create_task(self._client(client, ended)) for _ in range(self._clients)]
            try:
                yield client
                await asyncio.gather(*clients)
                # What was accepted of them and never told its client, nobody else cancels before `reaper.abandoned`.
                left = [asyncio.create_task(self._cancel(client, repo, 0)) for repo in self._cancelled]
                outcome.wrong += await settled(self._place, self._rest)
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)
                outcome.wrong += await check(self._place, self._rest)
            finally:
                for task in (watching, *clients):
                    task.cancel()
                await asyncio.gather(watching, *clients, return_exceptions=True)
        outcome.takeovers, outcome.looks = self.watch.takeovers, self.watch.looks
        outcome.wrong += [f"nobody has looked {what}" for what, number in self.watch.looks.items() if not number]
        outcome.ended = self._place.ended
        outcome.wrong += sorted(self.watch.found)
        for story in outcome.stories:
            outcome.wrong += story.wrong
            if story.end == "failed" and story.sound:
                outcome.reasons[story.reason] += 1

    # -- launches ----------------------------------------------------------------------------------------------

    async def _client(self, client: httpx.AsyncClient, ended: asyncio.Event) -> None:
        while not ended.is_set():
            await self._launch(client, await self._asks.next())

    async def _launch(self, client: httpx.AsyncClient, ask: Ask, *, patience: float = 0.0) -> Story:
        cancelling = None
        if ask.cancel is not None:
            self._cancelled.add(ask.repo)
            cancelling = asyncio.create_task(self._cancel(client, ask.repo, ask.cancel))
        story = await follow(client, ask, patience=patience or self._patience)
        self.outcome.stories.append(story)
        if cancelling is not None:
            cancelling.cancel()
            await asyncio.gather(cancelling, return_exceptions=True)
        if story.end == "ready" and ask.stop is not None:
            if not isinstance(self._place.reality, FakeReality):  # the servers of the runtime `fake` are for the hub alone
                await use(client, story)
                self.outcome.used += 1
            await asyncio.sleep(ask.stop)
            await stop(client, story.launch)
        return story

    async def _cancel(self, client: httpx.AsyncClient, repo: str, wait: float) -> None:
        """Cancel every launch of a repository, those too whose client never learned their id."""
        await asyncio.sleep(wait)
        while True:
            with contextlib.suppress(Exception):
                for row in await self._place.query(
                        "SELECT id FROM launch WHERE repo LIKE :name AND ended_at IS NULL AND state <> 'ready'", name=f"%{repo}"):
                    await client.delete(f"/api/v1/launches/{row.id}", timeout=10)
            await asyncio.sleep(0.5)

    # -- faults ------------------------------------------------------------------------------------------------

    async def _break(self, client: httpx.AsyncClient, ended: asyncio.Event) -> None:
        await self._faults.pause(0.5, 3.0)
        while True:
            fault = await self._faults.one()
            story = await self.known(client)
            if story.end == "ready":
                self.outcome.recoveries[fault].append(story.ready)
            await self._faults.pause(0.0, 2.0)
            if ended.is_set():
                return
