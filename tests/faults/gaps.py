"""What launches depend on goes away for a while and comes back: one function a case, for short tests and for long benches.

Each asks for launches before, in and after the gap, and gives figures; nothing may fail and no attempt may be used up.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.asks import KNOWN, Ask
from tests.faults.client import Story, follow
from tests.faults.site import Site


@dataclass
class Gap:
    """One case under way."""

    site: Site
    client: httpx.AsyncClient
    seconds: float
    stories: list[Story] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def ask(self, *scripts: str | Ask) -> "asyncio.Task[list[Story]]":
        """Launch, each with an own patience."""
        async def all_of() -> list[Story]:
            found = list(await asyncio.gather(*[follow(self.client, script, patience=self.seconds + 150) for script in scripts]))
            self.stories += found
            return found
        return asyncio.create_task(all_of())

    async def hub(self, **behaviour: float) -> None:
        """Make the hub behave."""
        await self.client.get(f"http://127.0.0.1:{self.site.hub_behind}/hub/api/behave", params=behaviour, timeout=120)

    async def hub_requests(self) -> int:
        """How many requests it has got."""
        counts = (await self.client.get(f"http://127.0.0.1:{self.site.hub_behind}/hub/api/counts", timeout=120)).json()
        return sum(number for what, number in counts.items() if " " in what and what.split(" ")[0].isupper())

    async def check_waiting(self, number: int) -> None:
        """Launches wait with a place in the queue, the first attempt not used up, and say why."""
        until, rows, places = time.monotonic() + 60, list[Any](), [0]
        while len(rows) < number or places != list(range(1, len(rows) + 1)):  # while one asks, a launch may come or be tried
            if time.monotonic() > until:
                self.wrong.append(f"{len(rows)} launches wait instead of {number}, with the places {places}")
                break
            rows = await self.site.query("SELECT id, attempt FROM launch WHERE state = 'launching'")
            places = sorted([(await self.client.get(f"/api/v1/launches/{row.id}", timeout=120)).json()["position"] or 0 for row in rows])
        if any(row.attempt > 1 for row in rows):
            self.wrong.append("an attempt was used up")
        self.figures["launches that waited"] = len(rows)

    async def end(self, asked: "list[asyncio.Task[list[Story]]]") -> None:
        """Wait for everything that was asked in the gap, which has just ended."""
        began = time.monotonic()
        await asyncio.gather(*asked)
        self.figures["seconds from its return until all were ready"] = round(time.monotonic() - began, 2)
        attempts = await self.site.query("SELECT count(*) AS n FROM launch WHERE attempt > 1")
        if attempts[0].n:
            self.wrong.append(f"{attempts[0].n} launches used attempts up")
        self.wrong += [f"{one.script}: {one.end or 'no end'} {one.reason} {one.wrong}" for one in self.stories
                       if one.end != "ready" or one.wrong]


async def _asking(gap: Gap, number: int, seconds: float) -> "list[asyncio.Task[list[Story]]]":
    """So many launches over so many seconds; the last of them is asked for at the end."""
    asked = []
    for _ in range(number):
        asked.append(gap.ask(KNOWN))
        await asyncio.sleep(seconds / number)
    return asked


async def hub_down(gap: Gap) -> None:
    """The hub is killed and comes back."""
    await gap.site.end_part("hub")
    asked = await _asking(gap, 20, 0.8 * gap.seconds)
    await asyncio.sleep(0.2 * gap.seconds)
    # Those that were being started give up after `hub.restart`.
    await gap.site.until(lambda: _none_owned(gap.site))
    await gap.check_waiting(20)
    gap.site.start_part("hub")
    await gap.end(asked)


async def _none_owned(site: Site) -> bool:
    return not await site.query("SELECT id FROM launch WHERE state = 'launching' AND lease_owner IS NOT NULL")


async def hub_flapping(gap: Gap) -> None:
    """The hub is killed again and again, and never up for long."""
    asking = asyncio.create_task(_asking(gap, 20, gap.seconds))
    until = time.monotonic() + gap.seconds
    while time.monotonic() < until:
        await gap.site.end_part("hub")
        await asyncio.sleep(1.5)
        gap.site.start_part("hub")
        await asyncio.sleep(1.5)
    await gap.end(await asking)


async def _behaving(gap: Gap, **behaviour: float) -> None:
    await gap.hub(**behaviour)
    before, began = await gap.hub_requests(), time.monotonic()
    asked = await _asking(gap, 20, gap.seconds)
    gap.figures["requests per second to the hub meanwhile"] = round((await gap.hub_requests() - before) / (time.monotonic() - began), 1)
    await gap.hub()
    await gap.end(asked)


async def hub_slow(gap: Gap) -> None:
    """Every answer of the hub takes seconds."""
    await _behaving(gap, slow=3.0)


async def hub_full(gap: Gap) -> None:
    """The hub answers 429 with a second to wait."""
    await _behaving(gap, status=429)


async def hub_failing(gap: Gap) -> None:
    """The hub answers 503."""
    await _behaving(gap, status=503)


async def valkey_down(gap: Gap) -> None:
    """Valkey is killed, and comes back empty."""
    await gap.site.valkey.end(signal.SIGKILL)
    asked = [gap.ask("lines-9+slow-1+valkey")]
    until = time.monotonic() + gap.seconds
    slowest = 0.0
    while time.monotonic() < until:
        slowest = max(slowest, (await gap.ask(KNOWN))[0].ready)
        await asyncio.sleep(min(1.0, gap.seconds / 20))
    gap.figures["slowest launch of a known image meanwhile, s"] = round(slowest, 2)
    await gap.site.valkey.start()
    began = time.monotonic()
    while "dockyard_redis_up 1.0" not in (await gap.client.get("/metrics", timeout=120)).text:
        await gap.ask(KNOWN)
        if time.monotonic() - began > 120:
            gap.wrong.append("Valkey is not used again")
            break
    gap.figures["seconds from its return until it is used again"] = round(time.monotonic() - began, 2)
    gap.figures["launch after it, s"] = round((await gap.ask(KNOWN))[0].ready, 2)
    await gap.end(asked)


async def postgres_restarts(gap: Gap) -> None:
    """Ten restarts with requests inside each; the last one takes as long as the gap is."""
    longest = 0.0
    for n in range(10):
        await gap.site.postgres.end(signal.SIGINT if n % 2 else signal.SIGQUIT)
        asked = gap.ask(KNOWN, KNOWN, f"lines-9+slow-1+p{n}")
        await asyncio.sleep(gap.seconds if n == 9 else 0.3)
        await gap.site.postgres.start()
        began = time.monotonic()
        await asked
        longest = max(longest, time.monotonic() - began)
    gap.figures["longest from a return until all were ready, s"] = round(longest, 2)
    gap.figures["restarts"] = 10
    await gap.end([])


CASES: dict[str, Callable[[Gap], Awaitable[None]]] = {
    "hub-down": hub_down, "hub-flapping": hub_flapping, "hub-slow": hub_slow, "hub-429": hub_full, "hub-503": hub_failing,
    "valkey-down": valkey_down, "postgres-restarts": postgres_restarts,
}


async def run(site: Site, client: httpx.AsyncClient, case: Callable[[Gap], Awaitable[None]], seconds: float) -> Gap:
    """One case; launches of a known image before it make sure that there is one."""
    gap = Gap(site, client, seconds)
    await gap.ask(KNOWN)
    await case(gap)
    gap.figures["launches"] = len(gap.stories)
    return gap
