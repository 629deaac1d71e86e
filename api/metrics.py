"""Numbers for Prometheus, under BinderHub's names where it has them, so that existing dashboards go on working.

Every launch is accepted by one api process, and that one counts what becomes of it when the news passes by;
so the sum over all replicas counts nothing twice. What ends while that process is down is not counted. A
label with the repository would have no bound, so there is none.
"""

from collections import OrderedDict
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector

from services.events import Kind, StoredEvent

_BUILD_BUCKETS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
_LAUNCH_BUCKETS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_MOST = 50_000  # launches followed at a time; beyond that the oldest are forgotten
_OVER = frozenset({Kind.READY, Kind.DONE, Kind.FAILED, Kind.CANCELLED})


@dataclass(slots=True)
class _Open:
    """One launch on its way; times are those of its events, in seconds since the epoch."""

    provider: str
    building: float | None = None
    launching: float | None = None
    retries: int = 0


class Metrics:
    """The numbers of one api process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self.builds = Counter("binderhub_build_count", "Builds that launches waited for", ["status", "provider"], registry=self.registry)
        self.launches = Counter("binderhub_launch_count", "Launches", ["status", "provider"], registry=self.registry)
        self.build_time = Histogram(
            "binderhub_build_time_seconds", "How long launches waited for their build", ["status"], buckets=_BUILD_BUCKETS,
            registry=self.registry)
        self.launch_time = Histogram(
            "binderhub_launch_time_seconds", "From the image to the running server", ["status", "retries"],
            buckets=_LAUNCH_BUCKETS, registry=self.registry)
        self.open_builds = self._gauge("binderhub_inprogress_builds", "Builds under way")
        self.open_launches = self._gauge("binderhub_inprogress_launches", "Launches under way")
        self.servers = self._gauge("dockyard_servers", "Servers that run")
        self.oldest = self._gauge("dockyard_oldest_launch_seconds", "Age of the oldest launch that is not ready")
        self.streams = self._gauge("dockyard_streams", "Open event streams of this process")
        self.redis = self._gauge("dockyard_redis_up", "Whether Redis answered last")

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def accepted(self, launch: str, provider: str) -> None:
        """This process has accepted a launch and counts what becomes of it."""
        self._open[launch] = _Open(provider)
        if len(self._open) > _MOST:
            self._open.popitem(last=False)

    def refused(self, launch: str) -> None:
        """It was not accepted after all."""
        self._open.pop(launch, None)

    def heard(self, event: StoredEvent) -> None:
        """News of any launch."""
        found = self._open.get(event.launch)
        if found is None:
            return
        kind = event.kind
        if kind == Kind.BUILDING:
            found.building, found.launching = event.at, None
        elif kind == Kind.BUILT:
            self._built(found, "success", event.at)
        elif kind == Kind.LAUNCHING:
            found.launching = event.at
        elif kind == Kind.RETRYING:
            self._launched(found, "retry", event.at)
            found.retries, found.launching = found.retries + 1, event.at
        elif kind == Kind.READY:
            self._launched(found, "success", event.at)
        elif kind == Kind.FAILED:
            if found.building is not None:
                self._built(found, "failure", event.at)
            else:
                self._launched(found, "failure", event.at)
        if kind in _OVER:
            del self._open[event.launch]

    def _built(self, found: _Open, status: str, at: float) -> None:
        self.builds.labels(status, found.provider).inc()
        if found.building is not None:
            self.build_time.labels(status).observe(max(0.0, at - found.building))
        found.building = None

    def _launched(self, found: _Open, status: str, at: float) -> None:
        self.launches.labels(status, found.provider).inc()
        if found.launching is not None:
            self.launch_time.labels(status, str(found.retries)).observe(max(0.0, at - found.launching))
