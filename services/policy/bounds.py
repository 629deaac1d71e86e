"""The limits in force, and which of many requests they leave.

Pure: what there is already is counted by whoever accepts (see `services.usecases.create`), in the transaction and under the lock in
which the accepted ones are written; here the requests of one batch are taken in their order, each counting what was accepted before
it. A refusal names its setting and when to come again: for rates the second in which the window ends, for what ends when people go,
what is known of it.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.settings import FrontSettings, LimitSettings
from services.settings.exposure import exposed

MINUTE, HOUR = 60, 3600
_SOON = 15  # seconds, where a launch under way has to become ready
_USUAL = {
    "open_per_network": 1024, "servers_per_client": 600, "servers_per_network": 1200, "servers_per_repository": 600,
    "launches_per_minute": 600, "launches_per_hour": 2400, "network_launches_per_minute": 1200, "network_launches_per_hour": 4800,
    "streams_per_network": 4000,
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Numbers, 0 for no limit; named as the settings."""

    open_per_client: int = 0
    open_per_network: int = 0
    open_total: int = 0
    servers_per_client: int = 0
    servers_per_network: int = 0
    servers_per_repository: int = 0
    launches_per_minute: int = 0
    launches_per_hour: int = 0
    network_launches_per_minute: int = 0
    network_launches_per_hour: int = 0
    streams_per_network: int = 0
    ipv4_network: int = 24
    ipv6_network: int = 64

    @property
    def rates(self) -> tuple[tuple[str, str, int, int], ...]:
        """Setting, prefix of the meter's key, seconds and number of each rate that is bounded."""
        found = (
            ("launches_per_minute", "client", MINUTE, self.launches_per_minute),
            ("launches_per_hour", "client", HOUR, self.launches_per_hour),
            ("network_launches_per_minute", "network", MINUTE, self.network_launches_per_minute),
            ("network_launches_per_hour", "network", HOUR, self.network_launches_per_hour),
        )
        return tuple(rate for rate in found if rate[3])

    @property
    def holds_servers(self) -> bool:
        """Whether servers of a client or network are counted."""
        return bool(self.servers_per_client or self.servers_per_network)


def bounds(limits: LimitSettings, front: FrontSettings | None = None) -> Bounds:
    """The limits in force: what is unset is off on loopback and has its usual value where others come."""
    usual = _USUAL if front is not None and exposed(front) else {}
    values = {key: getattr(limits, key) for key in Bounds.__dataclass_fields__}
    return Bounds(**{key: usual.get(key, 0) if value is None else value for key, value in values.items()})


@dataclass(frozen=True, slots=True)
class Request:
    """What the limits ask about one launch. `quota` is the number of its repository, 0 for none."""

    client: str
    network: str
    repository: str = ""
    quota: int = 0
    counted: bool = True  # against the rates
    trusted: bool = False  # an admin's: bound by what there is in all alone


@dataclass(slots=True)
class Counts:
    """What there is: launches under way and held servers by client, network and repository; rates by meter."""

    open: int = 0
    open_of: Counter[str] = field(default_factory=Counter)  # "client <address>", "network <network>"
    live_of: Counter[str] = field(default_factory=Counter)  # the same, and "repository <name>": under way or held
    rates: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)  # (key, seconds) -> number, seconds left


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which setting was hit, in words, and seconds until another try makes sense. `guess`: they are not known yet."""

    limit: str
    sentence: str
    retry_after: int
    guess: bool = False


@dataclass(frozen=True, slots=True)
class Rate:
    """What is left of the narrowest rate that was counted; `reset` in seconds."""

    limit: int
    remaining: int
    reset: float


def meters(request: Request, bounds: Bounds) -> list[tuple[str, str, int, int]]:
    """The rates that a request counts in: setting, key, seconds, number."""
    if not request.counted or request.trusted:
        return []
    of = {"client": request.client, "network": request.network}
    return [(name, f"{kind} {of[kind]}", seconds, number) for name, kind, seconds, number in bounds.rates]


def judge(requests: Sequence[Request], counts: Counts, bounds: Bounds) -> list[Refusal | Rate | None]:
    """What becomes of each request, in order; those that pass are added to the counts."""
    return [_judge(request, counts, bounds) for request in requests]


def _judge(request: Request, counts: Counts, bounds: Bounds) -> Refusal | Rate | None:
    mine = meters(request, bounds)
    refusal = _full(request, counts, bounds) or _fast(mine, counts)
    if refusal is not None:
        return refusal
    counts.open += 1
    for key in _keys(request):
        counts.open_of[key] += 1
        counts.live_of[key] += 1
    rate: Rate | None = None
    for _, key, seconds, number in mine:
        used, left = counts.rates.get((key, seconds), (0, float(seconds)))
        counts.rates[(key, seconds)] = (used + 1, left)
        if rate is None or number - used - 1 < rate.remaining:
            rate = Rate(number, number - used - 1, left)
    return rate


def _keys(request: Request) -> tuple[str, ...]:
    return (f"client {request.client}", f"network {request.network}", f"repository {request.repository}")


def _full(request: Request, counts: Counts, bounds: Bounds) -> Refusal | None:
    client, network, repository = _keys(request)
    if bounds.open_total and counts.open >= bounds.open_total:
        return Refusal("open_total", (
            f"{bounds.open_total} launches are under way, as many as this service takes on at a time. Try again in a while."), _SOON)
    if request.quota and request.repository and counts.live_of[repository] >= request.quota:
        # BinderHub's words, and a number.
        return Refusal(
            "servers_per_repository",
            f"Too many users running {request.repository}! Try again soon. At most {request.quota} may at a time.", 60, guess=True)
    if request.trusted:
        return None
    checks: tuple[tuple[str, int, Mapping[str, int], str, Callable[[int], str]], ...] = (
        ("open_per_client", bounds.open_per_client, counts.open_of, client, lambda n:
            f"There are {n} launches of your address under way. Wait until one of them is ready."),
        ("open_per_network", bounds.open_per_network, counts.open_of, network, lambda n:
            f"There are {n} launches of your network under way. Wait until one of them is ready."),
        ("servers_per_client", bounds.servers_per_client, counts.live_of, client, lambda n:
            f"Your address has {n} servers and launches, which is as many as it may have. Stop one, or wait until one has ended."),
        ("servers_per_network", bounds.servers_per_network, counts.live_of, network, lambda n:
            f"Your network has {n} servers and launches, which is as many as it may have. Stop one, or wait until one has ended."),
    )
    for name, most, there, key, sentence in checks:
        if most and there[key] >= most:
            servers = name.startswith("servers")
            return Refusal(name, sentence(there[key]), 60 if servers else _SOON, guess=servers)
    return None


def _fast(mine: Sequence[tuple[str, str, int, int]], counts: Counts) -> Refusal | None:
    """The rate that is used up, and of several the one that takes longest."""
    spent = []
    for name, key, seconds, number in mine:
        used, left = counts.rates.get((key, seconds), (0, float(seconds)))
        if used >= number:
            spent.append((max(1, math.ceil(left)), name, number, seconds))
    if not spent:
        return None
    wait, name, number, seconds = max(spent)
    whose = "Your network" if name.startswith("network") else "Your address"
    span = "minute" if seconds == MINUTE else "hour"
    return Refusal(name, f"Rate limit exceeded. Try again in {wait} seconds. {whose} may begin {number} launches in a {span}.", wait)
