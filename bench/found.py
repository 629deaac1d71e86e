"""Load of one sort: ask for a launch whose image exists, wait for `ready`, at once ask again.

A closed loop of so many clients, each with a new TCP connection per stream as browsers have, written on
`asyncio.Protocol` so that the client (about 65 µs per stream) is not what is measured. Latency is from
`connect()` until the bytes of `ready` have arrived. Source addresses change among 127.0.0.2–9, because one
address has only some 28,000 ports and each rests for a minute after its use.
"""

import asyncio
import itertools
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

_ID = re.compile(rb"(?:^|\n)id: ?([0-9a-f]{32})\.")
_END = re.compile(rb'"phase": ?"(ready|failed)".*\n\n')
_SOURCES = tuple(f"127.0.0.{n}" for n in range(2, 10))


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for, ready to be written to a socket."""

    host: str
    port: int
    request: bytes
    sources: tuple[str, ...] = _SOURCES

    @classmethod
    def of(cls, base_url: str, path: str) -> "Target":
        """The target for a path below a base address on loopback."""
        address = urlsplit(base_url)
        if address.hostname not in ("127.0.0.1", "localhost"):
            raise ValueError(f"{base_url} is not on loopback; a bench loads nothing else.")
        port = address.port or 80
        full = address.path.rstrip("/") + path
        head = (
            f"GET {full} HTTP/1.1\r\nHost: {address.hostname}:{port}\r\nAccept: text/event-stream\r\n"
            "User-Agent: dockyard-bench\r\n\r\n"
        )
        return cls("127.0.0.1", port, head.encode())


@dataclass(slots=True)
class Round:
    """What came of one run."""

    clients: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)  # seconds, in order of arrival
    launches: list[str] = field(default_factory=list)  # ids, where the server gives them
    failures: Counter[str] = field(default_factory=Counter)
    ended: int = 0  # streams that ended in `ready`, also those after the run's time

    @property
    def rate(self) -> float:
        """`ready` per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def quantile(self, q: float) -> float:
        """Milliseconds that this share of the streams needed at most."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


class _Stream(asyncio.Protocol):
    def __init__(self, request: bytes, done: "asyncio.Future[bytes]") -> None:
        self._request, self._done = request, done
        self._data = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        before = max(0, len(self._data) - 20)
        self._data += data
        if _END.search(self._data, before):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(self._data)
            self._transport.close()


async def run(target: Target, clients: int, seconds: float, *, patience: float = 120.0) -> Round:
    """Load for so many seconds, or until one stream has ended if that takes longer; streams that are under way at the end are waited
    for, but not counted in the rate. Every client asks once at least.

    Raises `TimeoutError` when some of them have not ended `patience` seconds later.
    """
    loop = asyncio.get_running_loop()
    sources, result = itertools.cycle(target.sources), Round(clients)
    begin = loop.time()
    end = begin + seconds
    result.seconds = seconds

    async def one() -> None:
        started = time.perf_counter()
        done: asyncio.Future[bytes] = loop.create_future()
        try:
            await loop.create_connection(
                lambda: _Stream(target.request, done), target.host, target.port, local_addr=(next(sources), 0)
            )
            data = await done
        except OSError as exc:
            result.failures[type(exc).__name__] += 1
            await asyncio.sleep(0.05)
            return
        took = time.perf_counter() - started
        if b'"ready"' not in data:
            result.failures[_complaint(data)] += 1
            return
        result.ended += 1
        if loop.time() <= end or not result.latencies:
            result.latencies.append(took)
            result.seconds = max(seconds, loop.time() - begin)
        found = _ID.search(data)
        if found:
            result.launches.append(found[1].decode())

    async def client() -> None:
        await one()
        while loop.time() < end:
            await one()

    async with asyncio.timeout(seconds + patience), asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return result


def _complaint(data: bytes) -> str:
    """The last thing that a stream without `ready` said."""
    text = data.decode("utf-8", "replace").strip().rsplit("data:", 1)[-1]
    return text[:200] or "closed without a word"
