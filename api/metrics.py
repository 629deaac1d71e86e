"""Numbers for Prometheus, under BinderHub's names where it has them, so that existing dashboards go on working.

Outcomes are read from the counts in the database (`services.lifecycle.tally`) and told by the replica that counts; so they stay
true when processes come and go, and a sum over replicas counts nothing twice. What is under way is the same whichever replica is
asked: take `max` of it. A label with the repository would have no bound, so there is none.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from prometheus_client import Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from api.watch import Watch
from services.db import Database
from services.errors import DockyardError
from services.lifecycle import dependencies
from services.lifecycle.roll import SILENT
from services.lifecycle.tally import BOUNDS
from services.observe import Metrics
from services.usecases import numbers

_PATIENCE = 3.0  # seconds that a scraper waits for the database
Labels = tuple[str, ...]
_LE = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
# Name, text, labels in the order (status, provider, detail; "" leaves one out), measure.
_COUNTERS = (
    ("binderhub_build_count", "Builds that launches waited for", ("status", "provider", ""), "wait"),
    ("binderhub_launch_count", "Attempts at the hub", ("status", "provider", ""), "hub"),
    ("dockyard_launches", "What became of launches", ("outcome", "provider", "reason"), "outcome"),
    ("dockyard_builds", "What became of builds", ("outcome", "provider", "reason"), "build"),
)
_HISTOGRAMS = (
    ("binderhub_build_time_seconds", "How long launches waited for their build", ("status", "", ""), "wait"),
    ("binderhub_launch_time_seconds", "From the image to the running server", ("status", "", "retries"), "hub"),
    ("dockyard_launch_seconds", "From the request to the outcome; `ready` is what users wait", ("outcome", "", ""), "outcome"),
    ("dockyard_launch_step_seconds", "How long launches were in each state", ("step", "", ""), "step"),
    ("dockyard_build_step_seconds", "How long builds were in each state", ("step", "", ""), "build_step"),
)


class Totals(Collector):
    """The counts, as they were last read; empty in a replica that does not count."""

    def __init__(self) -> None:
        self.rows: Sequence[sa.Row[Any]] = ()

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        for name, text, labels, measure in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=[label for label in labels if label])
            for values, cells in self._grouped(labels, measure).items():
                counter.add_metric(values, sum(number for number, _ in cells.values()))
            yield counter
        for name, text, labels, measure in _HISTOGRAMS:
            histogram = HistogramMetricFamily(name, text, labels=[label for label in labels if label])
            for values, cells in self._grouped(labels, measure).items():
                running, buckets = 0, []
                for bucket, bound in enumerate(_LE):
                    running += cells[bucket][0] if bucket in cells else 0
                    buckets.append((bound, float(running)))
                histogram.add_metric(values, buckets, sum(seconds for _, seconds in cells.values()))
            yield histogram

    def _grouped(self, labels: Labels, measure: str) -> dict[Labels, dict[int, tuple[int, float]]]:
        found: dict[Labels, dict[int, tuple[int, float]]] = defaultdict(dict)
        for row in self.rows:
            if row.measure == measure:
                values = tuple(value for label, value in zip(labels, (row.status, row.provider, row.detail), strict=True) if label)
                number, seconds = found[values].get(row.bucket, (0, 0.0))
                found[values][row.bucket] = (number + row.number, seconds + row.seconds)
        return found


class ApiMetrics:
    """What an api process tells beside what every process does; brought up to date whenever somebody asks."""

    def __init__(self, base: Metrics, db: Database, watch: Watch, streams: Callable[[], int]) -> None:
        self._base = base
        self._db = db
        self._watch = watch
        self._streams_open = streams
        self._totals = Totals()
        base.registry.register(self._totals)
        base.before.append(self.refresh)
        self._open_builds = self._gauge("binderhub_inprogress_builds", "Builds under way")
        self._open_launches = self._gauge("binderhub_inprogress_launches", "Launches under way")
        self._servers = self._gauge("dockyard_servers", "Servers that run")
        self._state = self._gauge("dockyard_under_way", "Launches by state", "state")
        self._queue = self._gauge("dockyard_queue", "What nobody works on yet: links to look up, builds, servers to start", "queue")
        self._oldest = self._gauge("dockyard_oldest_waiting_seconds", "Age of the oldest launch and build that nobody works on", "what")
        self._oldest_open = self._gauge("dockyard_oldest_launch_seconds", "Age of the oldest launch that is not ready")
        self._leases = self._gauge("dockyard_leases", "Rows that some process works on", "work")
        self._expired = self._gauge("dockyard_leases_expired", "Rows whose owner has not been heard of for a lease", "work")
        self._processes = self._gauge("dockyard_processes", "Processes that were heard of in the last half minute", "name")
        self._dependency = self._gauge("dockyard_dependency_up", "Whether what we stand on answered last", "name")
        self._outlet = self._gauge("dockyard_events_failing_seconds", "How long a sink of events has taken nothing", "sink")
        self._database = self._gauge("dockyard_database_up", "Whether the database has answered just now")
        self._counts = self._gauge("dockyard_counts_here", "Whether this replica is the one that counts and tells outcomes")
        self._streams = self._gauge("dockyard_streams", "Open event streams of this process")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._base.registry)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Everything, in the format that the scraper prefers, and the format's name."""
        await self._base.refresh()
        encode, media_type = choose_encoder(accept)
        return encode(self._base.registry), media_type

    async def refresh(self) -> None:
        """Read what the database has. Without it the last numbers stay, and `dockyard_database_up` is 0."""
        self._streams.set(self._streams_open())
        self._counts.set(self._watch.counting.ours)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._read()
        except (DockyardError, TimeoutError):
            self._database.set(0)
        else:
            self._database.set(1)

    async def _read(self) -> None:
        self._totals.rows = await numbers.totals(self._db) if self._watch.counting.ours else ()
        self._under_way(await self._watch.now())
        for gauge in (self._leases, self._expired, self._processes, self._dependency, self._outlet):
            gauge.clear()
        for lease in await numbers.leases(self._db):
            self._leases.labels(lease.work).inc(lease.held)
            self._expired.labels(lease.work).inc(lease.expired)
        for process in await numbers.processes(self._db):
            self._processes.labels(process["name"]).inc(process["silent"] < SILENT)
        for dependency in await dependencies.known(self._db):
            if not dependency.name.startswith("forge "):  # whose hosts are nobody's business
                self._dependency.labels(dependency.name).set(dependency.ok)
        for outlet in await numbers.outlets(self._db):
            self._outlet.labels(outlet.name.removeprefix("events.")).set(outlet.failing or 0.0)

    def _under_way(self, now: numbers.Numbers) -> None:
        self._open_builds.set(now.builds_queued + now.builds_running)
        self._open_launches.set(now.unresolved + now.building + now.launching)
        self._servers.set(now.running)
        for state in ("building", "launching", "running", "stopping"):
            self._state.labels(state).set(getattr(now, state))
        self._state.labels("waiting").set(now.unresolved)
        for queue, number in (("launches", now.unresolved), ("builds", now.builds_queued), ("servers", now.unstarted)):
            self._queue.labels(queue).set(number)
        self._oldest.labels("launch").set(now.oldest_wait)
        self._oldest.labels("build").set(now.oldest_build)
        self._oldest_open.set(now.oldest_open)
