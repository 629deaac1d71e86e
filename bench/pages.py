"""`bench pages`: requests per second and bytes of what browsers and probes ask for, beside a BinderHub's.

Home, a launch page, the badge, the files that pages load, and health, each from so many clients with open connections. Bytes are those
of one answer as a browser takes it (gzip), and of a whole page: itself and every file that it names for itself. The peer's launch page
is asked for by the same path. Nothing is launched: a page that is only read starts nothing.
"""

import argparse
import asyncio
import gzip
import re
import time
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
import uvloop

from bench import machine, stack
from bench.processes import Meter
from bench.report import Report

PATHS = {"home": "/", "launch page": "/v2/gh/norvig/pytudes/HEAD", "badge": "/badge_logo.svg", "health": "/health"}
_LOADS = re.compile(r'<(?:script|link|img)\b[^>]*\b(?:src|href)="([^"]+)"')
_HEADERS = {"accept": "text/html,*/*;q=0.8", "accept-encoding": "gzip", "sec-fetch-site": "none", "sec-fetch-mode": "navigate"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing of one server: its address, and the bytes of its answer over the wire, without and with what it loads."""

    url: str
    answer: int
    whole: int


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("-c", "--clients", type=int, default=32, help="clients at a time")
    parser.add_argument("-d", "--seconds", type=float, default=3.0, help="seconds of each run")
    parser.add_argument("--url", help="measure this server instead of starting one")
    parser.add_argument("--peer", metavar="URL", help="a BinderHub to be asked for the same, in the same bench")
    stack.arguments(parser)


def bench(args: argparse.Namespace) -> Report:
    """Measure."""
    report = Report("pages", machine.describe())
    with stack.measured(args) as started:
        uvloop.run(_measure(args, report, started))
    return report


async def _measure(args: argparse.Namespace, report: Report, started: stack.Stack | None) -> None:
    connector = aiohttp.TCPConnector(limit=args.clients)
    async with aiohttp.ClientSession(connector=connector, headers=_HEADERS, auto_decompress=False) as session:
        ours = await _look(session, started.url if started else args.url, report)
        theirs = await _look(session, args.peer, report) if args.peer else {}
        for name, mine in ours.items():
            peer = theirs.get(name)
            rates: list[float] = []
            others: list[float] = []
            meter = Meter.start(started.tree) if started else None
            for _ in range(args.runs):
                rates.append(await _rate(session, mine.url, args, report))
                if peer is not None:
                    others.append(await _rate(session, peer.url, args, report))
            report.add(f"{name}: requests per second", "/s", rates, others, more=True)
            if meter is not None and peer is None:
                report.notes.append(f"cores for {name}: {meter}")
            report.add(f"{name}: bytes", "B", [float(mine.answer)], [float(peer.answer)] if peer else [])
            if mine.whole != mine.answer:
                report.add(f"{name} with all that it loads: bytes", "B", [float(mine.whole)], [float(peer.whole)] if peer else [])


async def _look(session: aiohttp.ClientSession, base: str, report: Report) -> dict[str, Seen]:
    """Ask for everything once."""
    found: dict[str, Seen] = {}
    sizes: dict[str, int] = {}
    for name, path in PATHS.items():
        url = urljoin(base, path.lstrip("/") if base.endswith("/") else path)
        body, size = await _get(session, url)
        is_page = body is not None and "<html" in body[:200].lower()
        loaded = {urljoin(url, address) for address in _LOADS.findall(body)} if body is not None and is_page else set()
        for address in loaded - sizes.keys():
            if address.startswith(base.rstrip("/")):
                text, size = await _get(session, address)
                if text is None:
                    report.notes.append(f"{address} is not there, and not counted: a BinderHub without its built bundle loads less")
                sizes[address] = size
        found[name] = Seen(url, size, size + sum(sizes.get(address, 0) for address in loaded))
    if sizes:
        heaviest = max(sizes, key=lambda address: sizes[address])
        found["heaviest file of a page"] = Seen(heaviest, sizes[heaviest], sizes[heaviest])
    return found


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[str | None, int]:
    """The text of an answer, and its bytes over the wire; None and 0 where there is none."""
    async with session.get(url, allow_redirects=False) as answer:
        raw = await answer.read()
        if answer.status >= 400:
            return None, 0
        text = gzip.decompress(raw) if answer.headers.get("content-encoding") == "gzip" else raw
        return text.decode("utf-8", "replace"), len(raw)


async def _rate(session: aiohttp.ClientSession, url: str, args: argparse.Namespace, report: Report) -> float:
    """Answers per second; every one has to be like the first."""
    end, count, wrong = time.perf_counter() + args.seconds, 0, 0
    async with session.get(url, allow_redirects=False) as answer:
        await answer.read()
        wanted = answer.status

    async def client() -> None:
        nonlocal count, wrong
        while not count or time.perf_counter() < end:
            async with session.get(url, allow_redirects=False) as answer:
                await answer.read()
            count += 1
            wrong += answer.status != wanted

    begun = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(args.clients)])
    if wrong:
        report.check(f"every answer of {url} had the status {wanted} ({wrong} had not)", False)
    return count / (time.perf_counter() - begun)
