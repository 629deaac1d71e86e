"""What a process with work tells Prometheus: its loops, its breakers, its broker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from services.observe.breakers import states
from services.queue import Redis

if TYPE_CHECKING:
    from services.lifecycle.loop import ClaimLoop


@dataclass(slots=True)
class LoopNumbers:
    """What one loop has done since its process began."""

    claimed: int = 0
    ended: int = 0
    lost: int = 0  # leases that somebody else has by now
    failed: int = 0  # work that ended in an error nobody had foreseen
    seconds: float = 0.0  # that rows were worked on


class LoopCollector(Collector):
    """The numbers of a process's loops."""

    def __init__(self, loops: Sequence["ClaimLoop"]) -> None:
        self._loops = loops

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        held = GaugeMetricFamily("dockyard_held", "Rows that this process has leased and works on", labels=["work"])
        room = GaugeMetricFamily("dockyard_capacity", "Rows that it works on at most", labels=["work"])
        claimed = CounterMetricFamily("dockyard_claims", "Rows that it has claimed", labels=["work"])
        lost = CounterMetricFamily("dockyard_leases_lost", "Rows that another process took over from it", labels=["work"])
        failed = CounterMetricFamily("dockyard_work_errors", "Work that ended in an unforeseen error", labels=["work"])
        spent = SummaryMetricFamily("dockyard_work_seconds", "How long it has had rows in hand", labels=["work"])
        for loop in self._loops:
            numbers = loop.numbers
            held.add_metric([loop.name], loop.held)
            room.add_metric([loop.name], loop.capacity)
            claimed.add_metric([loop.name], numbers.claimed)
            lost.add_metric([loop.name], numbers.lost)
            failed.add_metric([loop.name], numbers.failed)
            spent.add_metric([loop.name], numbers.ended, numbers.seconds)
        yield from (held, room, claimed, lost, failed, spent)


class Surroundings(Collector):
    """What the process stands on, as far as it has noticed."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        yield GaugeMetricFamily("dockyard_redis_up", "Whether Redis answered last", value=self._redis.ok)
        opened = CounterMetricFamily("dockyard_breaker_opened", "Times that something has been found not to answer", labels=["name"])
        ok = GaugeMetricFamily("dockyard_breaker_closed", "Whether something is asked as usual", labels=["name"])
        found: dict[str, tuple[int, bool]] = {}
        for state in states():
            # Hosts that strangers have named are told together: which they are is nobody's business, and how many has no bound.
            name = "forge" if state.name.startswith("forge ") else state.name
            before = found.get(name, (0, True))
            found[name] = (before[0] + state.opened, before[1] and state.ok)
        for name, (times, closed) in found.items():
            opened.add_metric([name], times)
            ok.add_metric([name], closed)
        yield from (opened, ok)
