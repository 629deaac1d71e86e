"""The loop that every process with work runs: claim in batches, work, keep the leases alive, hand over when told to
stop.

Work on a row is one task of the event loop. It is cancelled when the row has another owner, so it must leave what it
started where the next owner finds it. A stopping loop claims nothing more, lets the tasks go on for the drain time,
then cancels them and gives the rows back, which is not a failed attempt. """

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from services.db import DatabaseGone
from services.errors import DockyardError, LeaseLost
from services.lifecycle.claims import Claimed, Claims
from services.lifecycle.numbers import LoopNumbers
from services.observe import bound
from services.queue import Ear
from services.settings import LeaseSettings

log = structlog.get_logger()


class Lease:
    """A claimed row as the worker holds it."""

    def __init__(self, claimed: Claimed) -> None:
        self.claimed = claimed
        self.target: str = claimed.row["target"]
        self.changed = asyncio.Event()  # set when the target has changed
        self.released = False  # the row has been moved on; nothing to give back

    def retarget(self, target: str) -> None:
        """Called by the heartbeat and by whoever hears of a change."""
        if target != self.target:
            self.target = target
            self.changed.set()


class ClaimLoop:
    """Runs `work` on every row that `claims` yields, at most `capacity` at a time, which may be another number each time."""

    def __init__(
        self,
        name: str,
        claims: Claims,
        ear: Ear,
        work: Callable[[Lease], Awaitable[None]],
        *,
        capacity: int | Callable[[], int],
        settings: LeaseSettings,
        batch: int = 64,
    ) -> None:
        self.name = name
        self._claims = claims
        self._ear = ear
        self._work = work
        self._capacity = capacity
        self._batch = batch
        self._settings = settings
        self._leases: dict[str, Lease] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        self.given_back = 0  # rows that wait for somebody else now
        self.numbers = LoopNumbers()

    @property
    def held(self) -> int:
        """How many rows are worked on."""
        return len(self._tasks)

    @property
    def capacity(self) -> int:
        """How many may be, just now."""
        return self._capacity() if callable(self._capacity) else self._capacity

    def holds(self, row: str) -> Lease | None:
        """The lease on a row, if this loop has it."""
        return self._leases.get(row)

    def stop(self) -> None:
        """Claim nothing more; `run` returns after the drain."""
        self._stopping.set()
        self._room.set()
        self._ear.nudge()

    async def run(self) -> None:
        """Claim and work until `stop`."""
        heart = asyncio.create_task(self._beat())
        try:
            while not self._stopping.is_set():
                if heart.done():
                    heart.result()
                await self._turn()
            await self._drain()
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)

    async def _turn(self) -> None:
        free = self.capacity - len(self._tasks)
        if free <= 0:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll if callable(self._capacity) else None):
                    await self._room.wait()
            return
        try:
            claimed = await self._claims.claim(min(free, self._batch))
        except DockyardError as error:
            log.warning("claim_failed", loop=self.name, reason=error.sentence)
            await asyncio.sleep(self._settings.poll)
            return
        self.numbers.claimed += len(claimed)
        for one in claimed:
            self._begin(one)
        if claimed:
            self._ear.busy()
            # A full batch means there is more; otherwise the tasks may run before the next look.
            if len(claimed) < min(free, self._batch):
                await self._ear.wait(self._settings.poll)
        else:
            await self._ear.wait(self._settings.poll)

    def _begin(self, claimed: Claimed) -> None:
        lease = Lease(claimed)
        before = self._leases.get(claimed.id)
        if before is not None:
            # Our own lease ran out unnoticed, the database being away; what was begun under it ends, the row is begun again.
            before.released = True
            self._tasks[claimed.id].cancel()
        self._leases[claimed.id] = lease
        task = asyncio.create_task(self._guard(lease))
        self._tasks[claimed.id] = task

    async def _guard(self, lease: Lease) -> None:
        row, began = lease.claimed.id, time.monotonic()
        try:
            with bound(**{self._claims.table: row[:12]}):
                await self._work(lease)
        except LeaseLost:
            self.numbers.lost += 1
            log.info("lease_lost", loop=self.name, row=row[:12])
            lease.released = True
        except asyncio.CancelledError:
            pass
        except DatabaseGone as error:
            # No fault of the row: it is given back as soon as somebody can be told.
            log.warning("work_interrupted", loop=self.name, row=row[:12], reason=error.sentence)
        except Exception:
            # The lease runs out by itself and counts as a crash, so that poison ends after `builds.crashes` owners.
            self.numbers.failed += 1
            log.exception("work_failed", loop=self.name, row=row[:12])
            lease.released = True
        finally:
            if self._leases.get(row) is lease:
                del self._tasks[row], self._leases[row]
            self.numbers.ended += 1
            self.numbers.seconds += time.monotonic() - began
            self._room.set()
            if not lease.released:
                await self._give_back(lease)

    async def _give_back(self, lease: Lease) -> None:
        try:
            await asyncio.shield(self._claims.release([(lease.claimed.id, lease.claimed.epoch)]))
            self.given_back += 1
        except (DockyardError, asyncio.CancelledError):
            log.warning("release_failed", loop=self.name, row=lease.claimed.id[:12])

    async def _beat(self) -> None:
        every = self._settings.seconds / 3
        while True:
            started = time.monotonic()
            held = {row: lease for row, lease in self._leases.items() if not lease.released}
            if held:
                try:
                    ours = await self._claims.renew([(row, lease.claimed.epoch) for row, lease in held.items()])
                except DockyardError as error:
                    log.warning("heartbeat_failed", loop=self.name, reason=error.sentence)
                else:
                    self._sort(held, ours)
            await asyncio.sleep(max(0.05, every - (time.monotonic() - started)))

    def _sort(self, held: dict[str, Lease], ours: dict[str, str]) -> None:
        for row, lease in held.items():
            if row in ours:
                lease.retarget(ours[row])
            elif not lease.released and self._leases.get(row) is lease:
                lease.released = True
                self.numbers.lost += 1
                log.info("lease_lost", loop=self.name, row=row[:12])
                self._tasks[row].cancel()

    async def _drain(self) -> None:
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
