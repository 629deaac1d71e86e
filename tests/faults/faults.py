"""What is done to whom: kinds of faults, their targets, and the order that a seed decides.

Killed (-9), told to end, paused (SIGSTOP), starved (paused nine tenths of the time), restarted; connections cut, silent,
half open, slow, thin, refused; Celery messages doubled and dropped; the disk filled.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from services.queue import BUILDS, HOUSEKEEPING, LAUNCHES, make_app
from services.queue.app import TASKS
from tests.faults.place import Place
from tests.faults.watch import Watch

_STATEMENT = 10.0  # seconds that services.db waits for the answer to one
_SLICE, _SHARE = 0.2, 0.1  # seconds of a starved process's round, and the share of it that it runs


class Faults:
    """The faults of one run."""

    def __init__(self, place: Place, seed: int, watch: Watch) -> None:
        self._place, self._watch = place, watch
        self._random = random.Random(f"faults {seed}")
        self._busy: set[str] = set()  # what a fault is at work on
        self.counts: Counter[str] = Counter()
        processes = (*place.parts, *place.others)
        doors = tuple(place.proxies)
        self._table: dict[str, tuple[int, Callable[[str, float], Awaitable[None]], tuple[str, ...]]] = {
            "kill": (6, self._kill, processes), "terminate": (2, self._terminate, place.parts),
            "pause": (4, self._pause, (*processes, *place.servers)), "starve": (2, self._starve, (*processes, *place.servers)),
            "restart": (1, self._restart, place.servers), "crash": (1, self._crash, place.servers),
            "cut": (2, self._cut, doors), "blackhole": (2, self._blackhole, doors), "half-open": (1, self._half_open, doors),
            "delay": (1, self._delay, doors), "thin": (1, self._thin, doors), "refuse": (1, self._refuse, doors),
            "double": (1, self._double, ("messages",)), "drop": (1, self._drop, ("messages",)),
        }
        if place.disk is not None:
            self._table["fill"] = (2, self._fill, ("disk",))
        self._table = {kind: entry for kind, entry in self._table.items() if entry[2]}  # without doors nobody can break them

    async def pause(self, least: float, most: float) -> None:
        """Wait a moment that the seed decides."""
        await asyncio.sleep(self._random.uniform(least, most))

    async def one(self) -> str:
        """Do the next fault and return when it is over: its kind and target. Two do not work on one target at a time."""
        while True:
            kind = self._random.choices(list(self._table), [weight for weight, _, _ in self._table.values()])[0]
            _, work, targets = self._table[kind]
            target, seconds = self._random.choice(targets), self._random.uniform(0.3, 5.0)
            if target not in self._busy:
                break
            await asyncio.sleep(0.1)
        self._busy.add(target)
        self.counts[f"{kind} {target}"] += 1
        self._write(f"{kind} {target}, {seconds:.1f}")
        try:
            with self._watch.hurting(target):
                await work(target, seconds)
        finally:
            self._busy.discard(target)
            self._write(f"{kind} {target} is over")
        return f"{kind} {target}"

    def _write(self, text: str) -> None:
        """A line into the log of faults; on a full disk there is none."""
        with contextlib.suppress(OSError), (self._place.directory / "faults.log").open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    async def _kill(self, target: str, seconds: float) -> None:
        if pids := self._place.pids(target):
            with contextlib.suppress(Exception):  # the database may be the other thing that is broken at the moment
                async with asyncio.timeout(2):
                    await self._watch.killed(pids[0])
        await self._place.end(target, signal.SIGKILL)
        await asyncio.sleep(seconds / 3)
        await self._place.revive(target)

    async def _terminate(self, target: str, seconds: float) -> None:
        await self._place.end(target, signal.SIGTERM)
        await asyncio.sleep(seconds / 5)
        await self._place.revive(target)

    async def _pause(self, target: str, seconds: float) -> None:
        pids = self._place.pids(target)
        _signal(pids, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds if target in self._place.servers else seconds * 2)  # up to more than a lease
        finally:
            _signal(pids, signal.SIGCONT)

    async def _starve(self, target: str, seconds: float) -> None:
        pids, until = self._place.pids(target), time.monotonic() + seconds * 2
        try:
            while time.monotonic() < until:
                _signal(pids, signal.SIGSTOP)
                await asyncio.sleep(_SLICE * (1 - _SHARE))
                _signal(pids, signal.SIGCONT)
                await asyncio.sleep(_SLICE * _SHARE)
        finally:
            _signal(pids, signal.SIGCONT)

    async def _restart(self, target: str, seconds: float) -> None:
        await self._place.end(target, signal.SIGINT)
        await asyncio.sleep(seconds)
        await self._place.revive(target)

    async def _crash(self, target: str, seconds: float) -> None:
        await self._place.end(target, signal.SIGQUIT if target == "postgres" and seconds < 3 else signal.SIGKILL)
        await asyncio.sleep(seconds / 5)
        await self._place.revive(target)

    async def _cut(self, target: str, seconds: float) -> None:
        for _ in range(3):
            self._place.proxies[target].cut()
            await asyncio.sleep(seconds / 3)

    async def _blackhole(self, target: str, seconds: float) -> None:
        self._place.proxies[target].blackhole()
        await asyncio.sleep(seconds)
        self._place.proxies[target].go_on()

    async def _half_open(self, target: str, _: float) -> None:
        self._place.proxies[target].half_open()
        if target == "postgres":  # nobody can know before the time that a statement may take is over
            self._watch.unwell(target, _STATEMENT)

    async def _delay(self, target: str, seconds: float) -> None:
        self._place.proxies[target].latency = seconds / 30
        await asyncio.sleep(seconds)
        self._place.proxies[target].go_on()

    async def _thin(self, target: str, seconds: float) -> None:
        self._place.proxies[target].rate = int(4000 * seconds)
        await asyncio.sleep(seconds)
        self._place.proxies[target].go_on()

    async def _refuse(self, target: str, seconds: float) -> None:
        self._place.proxies[target].refusing = True
        self._place.proxies[target].cut()
        await asyncio.sleep(seconds)
        self._place.proxies[target].go_on()

    async def _double(self, _: str, __: float) -> None:
        app = make_app(self._place.direct.redis)

        def send() -> None:
            with contextlib.suppress(Exception):  # Valkey may be the other thing that is broken at the moment
                for _ in range(20):
                    for queue in (BUILDS, LAUNCHES):
                        app.send_task(TASKS[queue], queue=queue, expires=10, retry=False)
                    for sweep in ("nudge", "activity", "users", "things", "cull"):
                        app.send_task(TASKS[HOUSEKEEPING], args=(sweep,), queue=HOUSEKEEPING, expires=10, retry=False)
        await asyncio.to_thread(send)

    async def _drop(self, _: str, __: float) -> None:
        import redis.asyncio

        with contextlib.suppress(redis.exceptions.RedisError, OSError, TimeoutError):
            async with redis.asyncio.Redis.from_url(self._place.direct.redis.url.get_secret_value(), socket_timeout=2) as client:
                await client.flushall()

    async def _fill(self, _: str, seconds: float) -> None:
        """Fill the disk to its last byte, and once more with what is freed meanwhile."""
        assert self._place.disk is not None
        path = self._place.disk / "filled"
        try:
            for _times in range(4):
                await asyncio.to_thread(_fill, path)
                await asyncio.sleep(seconds)
        finally:
            path.unlink(missing_ok=True)


def _fill(path: object) -> None:
    with contextlib.suppress(OSError), open(str(path), "ab", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
