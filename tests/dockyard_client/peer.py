"""A small HTTP server that does to its clients what networks and proxies do: cut, stall, refuse, repeat.

It speaks raw bytes over asyncio, so a test decides exactly which byte is the last one.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is sent back; `cut` breaks the connection behind the body instead of ending the answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def answer(said: Any, status: int = 200, **headers: str) -> Answer:
    kind = "application/problem+json" if status >= 400 else "application/json"
    return Answer(status, json.dumps(said).encode(), {"Content-Type": kind, **headers})


def stream(*parts: str | bytes, cut: bool = False) -> Answer:
    body = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return Answer(200, body, {"Content-Type": "text/event-stream; charset=utf-8"}, cut)


def event(place: str, phase: str, message: str, **more: Any) -> str:
    head = f"id: {place}\n" if place else ""
    return f"{head}data: {json.dumps({'phase': phase, 'message': message, **more})}\n\n"


NO_ANSWER = Answer(status=0)  # the connection is closed without a word


class Peer:
    """Gives the prepared answers in order (or asks `decide`), and keeps what it was asked."""

    def __init__(self, *answers: Answer, decide: Callable[[Asked], Awaitable[Answer]] | None = None) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._answers = list(answers)
        self._decide = decide

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append(Asked(method, target, headers, body))
            said = await self._decide(self.asked[-1]) if self._decide else self._answers.pop(0)
            await _send(writer, said)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _send(writer: asyncio.StreamWriter, said: Answer) -> None:
    if said.status == 0:
        writer.transport.abort()
        return
    head = f"HTTP/1.1 {said.status} X\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    head += "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in said.headers.items())
    if said.status == 204:
        head = "HTTP/1.1 204 X\r\nConnection: close\r\n"
    writer.write(head.encode() + b"\r\n")
    for start in range(0, len(said.body), 700):
        piece = said.body[start : start + 700]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    if not said.cut and said.status != 204:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[Peer]:
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        server.close()
        await server.wait_closed()
