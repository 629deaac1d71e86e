"""Launches and faults in an order that a seed decides, and what came of them.

The seed gives the order, the kinds and the lengths of faults, and what each client asks for; so a seed that fails is run
again as it was, as far as a machine does the same thing twice.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from services.queue import BUILDS, HOUSEKEEPING, LAUNCHES, make_app
from services.queue.app import TASKS
from tests.faults.checker import Watch, check, settled
from tests.faults.client import Story, follow
from tests.faults.site import PARTS, Site

_KNOWN = "lines-2+slow-0+known"
_SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Outcome:
    """What a run has seen; `wrong` is empty where everything held."""

    faults: Counter[str] = field(default_factory=Counter)
    stories: list[Story] = field(default_factory=list)
    takeovers: list[float] = field(default_factory=list)  # seconds
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # fault -> seconds until a launch was ready
    ended: Counter[str] = field(default_factory=Counter)  # parts that ended by themselves
    reasons: Counter[str] = field(default_factory=Counter)  # why sound repositories failed
    wrong: list[str] = field(default_factory=list)

    @property
    def ends(self) -> Counter[str]:
        """How many launches ended how."""
        return Counter(story.end or "no end" for story in self.stories)


class Driver:
    """One run on one site."""

    def __init__(self, site: Site, seed: int, *, clients: int = 6) -> None:
        self._site = site
        self._faults = random.Random(f"faults {seed}")
        self._asks = random.Random(f"asks {seed}")
        self._clients = clients
        self._watch = Watch(site)
        self._names = 0
        self._busy: set[str] = set()  # what a fault is at work on
        self.outcome = Outcome()

    async def run(self, seconds: float) -> Outcome:
        """Launch and break for so many seconds, let everything come to rest, and check."""
        outcome = self.outcome
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._site.port}", trust_env=False, limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=0)) as client:
            first = await follow(client, _KNOWN, _SHA)
            outcome.stories.append(first)
            watching = asyncio.create_task(self._watch.run())
            until = time.monotonic() + seconds
            await asyncio.gather(
                *[self._client(client, until) for _ in range(self._clients)], *[self._break(client, until) for _ in range(2)])
            outcome.wrong += await settled(self._site, 60)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            outcome.wrong += await check(self._site)
        outcome.takeovers = self._watch.takeovers
        outcome.ended = self._site.ended
        outcome.wrong += sorted(self._watch.found)
        for story in outcome.stories:
            outcome.wrong += story.wrong
            if story.end == "failed" and not {"fail", "hang"} & set(story.script.split("+")):
                outcome.reasons[story.reason] += 1
        return outcome

    # -- launches ----------------------------------------------------------------------------------------------

    async def _client(self, client: httpx.AsyncClient, until: float) -> None:
        while time.monotonic() < until:
            ask = self._asks
            self._names += 1
            kind = ask.choices(
                ["known", "new", "shared", "fail", "crash", "vanish", "environment", "hang", "cancel"], [6, 5, 4, 1, 1, 1, 3, 1, 2])[0]
            name, lines, slow = f"n-{self._names}", ask.randint(1, 60), round(ask.uniform(0.2, 5.0), 1)
            script = {
                "known": _KNOWN, "new": f"lines-{lines}+slow-{slow}+{name}", "shared": f"lines-40+slow-4+s-{self._names // 6}",
                "fail": f"fail+lines-{lines}+slow-{slow}+{name}", "crash": f"crash-1+lines-{lines}+slow-1+{name}",
                "vanish": f"vanish+lines-{lines}+slow-1+{name}", "environment": f"env-e{self._names // 8}+lines-{lines}+slow-{slow}+{name}",
                "hang": f"hang+lines-{lines}+slow-1+{name}", "cancel": f"lines-30+slow-2+{name}",
            }[kind]
            cut, wait = (ask.uniform(0.3, 4.0) if ask.random() < 0.4 else 0.0), ask.uniform(0.5, 4.0)
            cancelling = None
            story_task = asyncio.create_task(follow(client, script, _SHA, cut_after=cut))
            if kind in ("hang", "cancel"):
                cancelling = asyncio.create_task(self._cancel(client, name, wait))
            self.outcome.stories.append(await story_task)
            if cancelling is not None:
                cancelling.cancel()
                await asyncio.gather(cancelling, return_exceptions=True)

    async def _cancel(self, client: httpx.AsyncClient, name: str, wait: float) -> None:
        """Cancel every launch of a repository, those too whose client never learned their id."""
        await asyncio.sleep(wait)
        while True:
            with contextlib.suppress(Exception):
                for row in await self._site.query(
                        "SELECT id FROM launch WHERE repo LIKE :name AND ended_at IS NULL AND state <> 'ready'", name=f"%+{name}"):
                    await client.delete(f"/api/v1/launches/{row.id}", timeout=10)
            await asyncio.sleep(0.5)

    # -- faults ------------------------------------------------------------------------------------------------

    async def _break(self, client: httpx.AsyncClient, until: float) -> None:
        await asyncio.sleep(self._faults.uniform(0.5, 3.0))
        table: dict[str, Callable[[str, float], Awaitable[None]]] = {
            "kill": self._kill, "terminate": self._terminate, "pause": self._pause, "restart": self._restart, "crash": self._crash,
            "cut": self._cut, "stall": self._stall, "silence": self._silence, "slow": self._slow, "refuse": self._refuse,
            "double": self._double, "drop": self._drop,
        }
        targets = {
            "kill": (*PARTS, "hub"), "terminate": PARTS, "pause": (*PARTS, "hub", "postgres", "valkey"), "restart": ("postgres", "valkey"),
            "crash": ("postgres", "valkey"), "cut": ("postgres", "valkey", "hub"), "stall": ("postgres", "valkey", "hub"),
            "silence": ("postgres", "valkey", "hub"), "slow": ("postgres", "valkey", "hub"), "refuse": ("postgres", "valkey", "hub"),
            "double": ("messages",), "drop": ("messages",),
        }
        while time.monotonic() < until:
            kind = self._faults.choices(list(table), [6, 2, 4, 1, 1, 2, 2, 1, 1, 1, 1, 1])[0]
            target, seconds = self._faults.choice(targets[kind]), self._faults.uniform(0.3, 5.0)
            if target in self._busy:
                await asyncio.sleep(0.1)
                continue
            self._busy.add(target)
            try:
                self.outcome.faults[f"{kind} {target}"] += 1
                await table[kind](target, seconds)
            finally:
                self._busy.discard(target)
            begun = time.monotonic()
            self.outcome.stories.append(await follow(client, _KNOWN, _SHA))
            self.outcome.recoveries[f"{kind} {target}"].append(time.monotonic() - begun)
            await asyncio.sleep(self._faults.uniform(0.0, 2.0))

    async def _killed(self, target: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self._watch.killed(self._site.processes[target].pid)

    async def _kill(self, target: str, seconds: float) -> None:
        await self._killed(target)
        await self._site.end_part(target)
        await asyncio.sleep(seconds / 3)
        self._site.start_part(target)

    async def _terminate(self, target: str, seconds: float) -> None:
        await self._site.end_part(target, signal.SIGTERM)
        await asyncio.sleep(seconds / 5)
        self._site.start_part(target)

    async def _pause(self, target: str, seconds: float) -> None:
        served = {"postgres": self._site.postgres, "valkey": self._site.valkey}.get(target)
        if served is None:
            await self._site.kill(target, signal.SIGSTOP)
            await asyncio.sleep(seconds * 2)  # up to three leases
            with contextlib.suppress(ProcessLookupError):
                await self._site.kill(target, signal.SIGCONT)
            return
        served.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        served.signal(signal.SIGCONT)

    async def _restart(self, target: str, seconds: float) -> None:
        served = self._site.postgres if target == "postgres" else self._site.valkey
        await served.end(signal.SIGINT)
        await asyncio.sleep(seconds)
        await served.start()

    async def _crash(self, target: str, seconds: float) -> None:
        served = self._site.postgres if target == "postgres" else self._site.valkey
        await served.end(signal.SIGQUIT if target == "postgres" else signal.SIGKILL)
        await asyncio.sleep(seconds / 5)
        await served.start()

    async def _cut(self, target: str, seconds: float) -> None:
        for _ in range(3):
            self._site.proxies[target].cut()
            await asyncio.sleep(seconds / 3)

    async def _stall(self, target: str, seconds: float) -> None:
        self._site.proxies[target].stall()
        await asyncio.sleep(seconds)
        self._site.proxies[target].go_on()

    async def _silence(self, target: str, _: float) -> None:
        self._site.proxies[target].silence()

    async def _slow(self, target: str, seconds: float) -> None:
        self._site.proxies[target].latency = seconds / 30
        await asyncio.sleep(seconds)
        self._site.proxies[target].go_on()

    async def _refuse(self, target: str, seconds: float) -> None:
        self._site.proxies[target].refusing = True
        self._site.proxies[target].cut()
        await asyncio.sleep(seconds)
        self._site.proxies[target].go_on()

    async def _double(self, _: str, __: float) -> None:
        app = make_app(self._site.direct.redis)

        def send() -> None:
            with contextlib.suppress(Exception):  # Valkey may be the other thing that is broken at the moment
                for _ in range(20):
                    for queue in (BUILDS, LAUNCHES):
                        app.send_task(TASKS[queue], queue=queue, expires=10, retry=False)
                    for sweep in ("nudge", "servers", "builds", "cull"):
                        app.send_task(TASKS[HOUSEKEEPING], args=(sweep,), queue=HOUSEKEEPING, expires=10, retry=False)
        await asyncio.to_thread(send)

    async def _drop(self, _: str, __: float) -> None:
        import redis.asyncio

        with contextlib.suppress(redis.exceptions.RedisError, OSError, TimeoutError):
            async with redis.asyncio.Redis.from_url(self._site.direct.redis.url.get_secret_value(), socket_timeout=2) as client:
                await client.flushall()
