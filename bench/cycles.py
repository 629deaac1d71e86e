"""`bench cycles`: thousands of launches that start and stop a server each, and what grows meanwhile.

The whole tree of `up` runs, with JupyterHub, its proxy and the spawner that starts a tiny process, so that each cycle is a
user, a server, a route and their removal. After every thousandth of the cycles (a tenth of them) everything comes to rest
and is counted: memory, descriptors and processes of each part, connections to the database, users, routes and rows. What
may grow are the rows that policy keeps (`reaper.keep_days`); the rest may not.

In the first thousand cycles the hub grows by some 25 MB: JupyterHub keeps what the permissions of the last users come to, 1,024
answers of each kind (jupyterhub/scopes.py). One of these caches holds 65,536, half a kilobyte each.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote

import aiohttp
import asyncpg

from bench import machine, stack
from bench.processes import Meter, shared
from bench.report import Report
from cli.embedded.account import service_account
from cli.embedded.home import open_home

SPEC = f"git/{quote('https://example.org/lines-1+slow-0', safe='')}/{'0123456789' * 4}"
GROWTH = 40.0  # MB that one part may grow from the second count to the last, Postgres without its buffers
BUFFERS = 80.0  # MB: 64 of shared_buffers, and what Postgres shares beside them; they fill as rows come, and that is their end
CONNECTIONS = 60  # to the database, of all parts together: five pools of eight at most, and room
FILES = 4000  # of all processes of Postgres, a hundred each
TABLES = ("launch", "event", "server", "build", "log_chunk", "image", "sweep")
PARTS = ("api", "worker", "launcher", "reaper", "hub", "proxy", "postgres", "valkey", "forge", "up")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.set_defaults(runs=1)
    parser.add_argument("--cycles", type=int, default=10_000, help="launches, each started and stopped")
    parser.add_argument("--clients", type=int, default=16, help="launches at a time")


@dataclass
class Count:
    """Everything at one moment of rest."""

    cycles: int
    memory: dict[str, float] = field(default_factory=dict)  # MB of PSS by part
    buffers: float = 0.0  # MB of it that the processes of Postgres share
    descriptors: dict[str, int] = field(default_factory=dict)  # by part
    processes: int = 0
    connections: int = 0
    users: int = 0
    routes: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    live: int = 0  # rows of launches and servers that are not over

    def __str__(self) -> str:
        return (f"{sum(self.memory.values()):.0f} MB, of which hub {self.memory.get('hub', 0):.0f}, {sum(self.descriptors.values())} "
                f"descriptors, {self.processes} processes, {self.connections} connections, {self.users} users, {self.routes} routes")


def bench(args: argparse.Namespace) -> Report:
    """Count."""
    report = Report("cycles", machine.describe())
    settings = {"DOCKYARD_RUNTIME_NAME": "fake", "DOCKYARD_FRONT_HOLD": "0", **stack.UNLIMITED}
    with stack.running(settings, hub=None) as found:
        meter = Meter.start(found.tree)
        counts, seconds = asyncio.run(_cycles(found, args.cycles, args.clients))
        spent = {name: 1000 * (one - meter.before.get(name, 0.0)) / args.cycles for name, one in meter.now().items()}
    by_cost = sorted(spent.items(), key=lambda item: -item[1])
    report.notes.append("CPU per cycle: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in by_cost))
    _add(report, counts, seconds)
    return report


async def _cycles(found: stack.Stack, cycles: int, clients: int) -> tuple[list[Count], float]:
    counts, spent = [], 0.0
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (
        aiohttp.ClientSession(found.url, connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session, Ends(found) as ends,
    ):
        await _cycle(session, ends)
        for tenth in range(11):
            if tenth:
                began, each = time.monotonic(), [cycles // 10 // clients] * clients
                each[0] += cycles // 10 - sum(each)
                await asyncio.gather(*[_client(session, ends, number) for number in each])
                spent += time.monotonic() - began
            counts.append(await _count(found, tenth * (cycles // 10)))
            print(f"{counts[-1].cycles} cycles in {spent:.0f} s: {counts[-1]}", flush=True)
    return counts, spent


class Ends:
    """Tells clients when their launches have ended: one question for all, so that asking costs next to nothing."""

    def __init__(self, found: stack.Stack) -> None:
        self._url = found.database_url()
        self._waiting: dict[str, asyncio.Event] = {}

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._url)
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.close()

    async def wait(self, launch: str) -> None:
        """Return when the launch has ended."""
        ended = self._waiting[launch] = asyncio.Event()
        await ended.wait()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for row in await self._connection.fetch(
                    "SELECT id FROM launch WHERE id = ANY($1::text[]) AND ended_at IS NOT NULL", list(self._waiting)):
                self._waiting.pop(row["id"]).set()


async def _client(session: aiohttp.ClientSession, ends: Ends, number: int) -> None:
    for _ in range(number):
        await _cycle(session, ends)


async def _cycle(session: aiohttp.ClientSession, ends: Ends) -> None:
    """One launch until `ready`, then its stop, until it is stopped. Raises `RuntimeError` with what it ended in instead."""
    launch = ""
    async with session.get(f"/build/{SPEC}", headers={"accept": "text/event-stream"}) as stream:
        async for line in stream.content:
            if line.startswith(b"id: "):
                launch = line[4:36].decode()
            elif line.startswith(b"data: ") and b'"phase": "ready"' in line:
                break
            elif b'"phase": "failed"' in line:
                raise RuntimeError(line.decode())
        else:
            raise RuntimeError("a stream ended without a word")
    async with session.delete(f"/api/v1/launches/{launch}") as answer:
        answer.raise_for_status()
    await ends.wait(launch)


async def _count(found: stack.Stack, cycles: int) -> Count:
    connection = await asyncpg.connect(found.database_url())
    try:
        live = "SELECT (SELECT count(*) FROM launch WHERE ended_at IS NULL) + (SELECT count(*) FROM server WHERE state <> 'stopped')"
        for _ in range(300):
            if not await connection.fetchval(live):
                break
            await asyncio.sleep(0.2)
        await asyncio.sleep(2)
        count = Count(cycles, live=await connection.fetchval(live))
        for table in TABLES:
            count.rows[table] = await connection.fetchval(f"SELECT count(*) FROM {table}")
        count.connections = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    finally:
        await connection.close()
    for one in found.tree.usage():
        count.memory[one.name] = one.pss / 1e6
        count.processes += one.processes
        count.descriptors[one.name] = sum(_descriptors(pid) for pid in found.tree.pids(one.name))
    home = open_home(found.home, service_account())
    count.buffers = sum(shared(pid) for pid in found.tree.pids("postgres")) / 1e6
    token, path = home.secret("hub-token"), str(home.directory("run/hub", 0o710 if home.account else 0o700) / "hub.sock")
    headers = {"authorization": f"token {token}"}
    async with aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(path), headers=headers) as hub:
        count.users = len(await _json(hub, "/hub/api/users"))
        count.routes = len(await _json(hub, "/hub/api/proxy"))
    return count


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


async def _json(session: aiohttp.ClientSession, path: str) -> Mapping[str, object] | list[object]:
    async with session.get(path) as answer:
        answer.raise_for_status()
        found: Mapping[str, object] | list[object] = json.loads(await answer.read())
        return found


def _add(report: Report, counts: list[Count], seconds: float) -> None:
    first, last = counts[1], counts[-1]  # the first tenth fills caches and pools
    cycles = last.cycles - first.cycles
    report.add("cycles", "/s", [last.cycles / seconds], more=True)
    for name in PARTS:
        if name in last.memory:
            report.add(f"memory of {name}", "MB", [count.memory.get(name, 0.0) for count in counts])
    report.add("buffers of postgres", "MB", [count.buffers for count in counts])
    report.add("memory in all", "MB", [sum(count.memory.values()) for count in counts])
    report.add("descriptors in all", "", [float(sum(count.descriptors.values())) for count in counts])
    report.add("processes", "", [float(count.processes) for count in counts])
    report.add("connections to the database", "", [float(count.connections) for count in counts])
    for table in TABLES:
        report.add(f"rows of {table}", "", [float(count.rows[table]) for count in counts])
    report.notes.append(f"each column of runs: after 0, then every {first.cycles} cycles")
    grown = {name: last.memory[name] - first.memory.get(name, 0.0) for name in last.memory}
    report.notes.append("memory grown since the second count: " + ", ".join(f"{name} {mb:+.1f} MB" for name, mb in sorted(grown.items())))
    for name, value in grown.items():
        apart = last.buffers - first.buffers if name == "postgres" else 0.0
        report.check(f"{name} grows by less than {GROWTH:.0f} MB{', its buffers apart' if apart else ''}", value - apart < GROWTH)
    report.check(f"the buffers of postgres take at most {BUFFERS:.0f} MB", last.buffers <= BUFFERS)
    wider = {name: last.descriptors[name] - first.descriptors.get(name, 0) for name in last.descriptors}
    files = last.descriptors.get("postgres", 0)  # each of its processes keeps the tables that it has read open
    report.check(f"no part but postgres holds more than 16 descriptors more: {wider}", max(
        value for name, value in wider.items() if name != "postgres") <= 16)
    report.check(f"postgres holds at most {FILES} descriptors: {files}", files <= FILES)
    report.check("no more processes", last.processes <= first.processes + 2)
    report.check(f"at most {CONNECTIONS} connections to the database", max(count.connections for count in counts) <= CONNECTIONS)
    report.check("no user, no route of a server, no live row is left", all(
        count.users == 0 and count.live == 0 and count.routes == counts[0].routes for count in counts))
    per = {table: (last.rows[table] - first.rows[table]) / cycles for table in TABLES}
    fixed = not any(per[name] for name in ("build", "log_chunk", "image", "sweep"))
    report.check(
        f"a cycle leaves one launch, one server and its events, and nothing else: {per}",
        fixed and per["launch"] == per["server"] == 1 and per["event"] <= 8)
