"""`bench crowd`: a class opens one new link at the same time, from one address: one build, and a server for each.

The whole tree of `up` runs with its limits as they are, JupyterHub and its proxy. With `--runtime fake` the build is a stand-in
that takes five seconds and a server is a tiny process; with `local` both are real, of a repository on a git server beside it.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp

from bench import machine, stack
from bench.report import Report
from tests.gitserver import GitServer, Repo

FAKE = f"git/{quote('https://example.org/lines-40+slow-5+class', safe='')}/{'0123456789' * 4}"
NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


@dataclass
class Seat:
    """What one client has seen; seconds since the first one came."""

    came: float
    ready: float = 0.0
    said: str = ""  # why not


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.set_defaults(runs=1)
    parser.add_argument("-c", "--clients", type=int, default=300, help="clients, all from 127.0.0.1")
    parser.add_argument("-d", "--seconds", type=float, default=10.0, help="within which they come")
    parser.add_argument("--runtime", choices=("fake", "local"), default="fake")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds that a client waits")


def bench(args: argparse.Namespace) -> Report:
    """Let them come."""
    report = Report("crowd", machine.describe())
    with stack.running({"DOCKYARD_RUNTIME_NAME": args.runtime}, hub=None) as found, _link(args.runtime) as spec:
        seats, builds = asyncio.run(_crowd(found, spec, args))
    ready = sorted(seat.ready - seat.came for seat in seats if not seat.said)
    report.check(f"all of {args.clients} clients got their server", len(ready) == args.clients)
    report.check("one build", builds == 1)
    report.notes += [f"{sum(one.said == said for one in seats)} × {said}" for said in {seat.said for seat in seats if seat.said}]
    if ready:
        report.add("from a client's coming to its server, p50", "s", [ready[len(ready) // 2]])
        report.add("the same, longest", "s", [ready[-1]])
        report.add("from the first client to the last server", "s", [max(seat.ready for seat in seats)])
    return report


@contextmanager
def _link(runtime: str) -> Iterator[str]:
    if runtime == "fake":
        yield FAKE
        return
    with tempfile.TemporaryDirectory(prefix="dockyard-crowd-") as name:
        repo = Repo.create(Path(name), "class.git")
        repo.commit({"requirements.txt": "six==1.17.0\n", "index.ipynb": NOTEBOOK})
        with GitServer(Path(name)) as git:
            yield f"git/{quote(git.url('class.git'), safe='')}/HEAD"


async def _crowd(found: stack.Stack, spec: str, args: argparse.Namespace) -> tuple[list[Seat], int]:
    begun = time.monotonic()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    headers = {"authorization": f"Bearer {found.admin_token}"}
    async with aiohttp.ClientSession(found.url, connector=connector, timeout=aiohttp.ClientTimeout(total=args.patience)) as session:
        async def sit(n: int) -> Seat:
            await asyncio.sleep(n * args.seconds / args.clients)
            seat = Seat(time.monotonic() - begun)
            try:
                seat.said = await _wait(session, spec)
            except (aiohttp.ClientError, TimeoutError) as error:
                seat.said = type(error).__name__
            seat.ready = time.monotonic() - begun
            return seat

        seats = await asyncio.gather(*[sit(n) for n in range(args.clients)])
        async with session.get("/api/v1/builds", headers=headers) as answer:
            return list(seats), len((await answer.json())["items"])


async def _wait(session: aiohttp.ClientSession, spec: str) -> str:
    """Why there is no server; empty where there is one."""
    async with session.get(f"/build/{spec}", headers={"accept": "text/event-stream"}) as stream:
        async for line in stream.content:
            if b'"phase": "ready"' in line:
                return ""
            if b'"phase": "failed"' in line:
                return line.decode().strip()[:300]
    return "the stream ended without a word"
