"""A hub that starts nothing: the part of JupyterHub's REST API that a launch uses, at the cost of a few bytes.

It stands in for JupyterHub where the launcher and the api are measured, because a real hub allows some tens
of launches per second and would be all that is seen. So it is written on `asyncio.Protocol`: one request
costs about 25 µs. It can be slow (`delay` seconds until a server is ready) and can fail (every n-th start is
refused, every n-th server never comes up).

    python -m bench.mock_hub --port 8081            on TCP, below /hub/api/
    python -m bench.mock_hub --socket /tmp/hub.sock on a unix socket

It prints one line when it listens. `GET /counts` says how many requests of each sort it has answered, and
`GET /behave?status=503&slow=2` makes it answer everything so; without a query it is itself again.
"""

import argparse
import asyncio
import json
import signal
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, unquote

import uvloop

_VERSION = "6.1.1"
_SIGN = f"X-JupyterHub-Version: {_VERSION}\r\n"
_SSE = f"HTTP/1.1 200 OK\r\n{_SIGN}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
_STARTED = "2026-01-01T00:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the hub behaves; 0 means never for the failures."""

    delay: float = 0.0  # seconds from the request until the server is ready
    refuse_every: int = 0  # every n-th POST of a server is answered with 500
    fail_every: int = 0  # every n-th server ends in `failed`
    busy_every: int = 0  # every n-th POST of a server is answered with 429 and a second to wait
    fail_named: str = ""  # servers of users whose names have this in them end in `failed`
    status: int = 0  # everything is answered with this instead
    slow: float = 0.0  # seconds until any answer
    sign: str = _SIGN  # of every answer; empty: it is not told whose they are


@dataclass(slots=True)
class Hub:
    """Users and their servers: (user, server name) -> when it is ready, None if never."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    users: dict[str, dict[str, float | None]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    state: Path | None = None  # where it is remembered
    links: set[asyncio.Transport] = field(default_factory=set)
    told: dict[str, dict[str, str]] = field(default_factory=dict)  # of a user: `created` and `last_activity`, where they are not long ago

    def recall(self) -> None:
        """Take up what an earlier process wrote down. A server that was starting then is ready now."""
        if self.state is not None and self.state.exists():
            self.users = json.loads(self.state.read_text())
            for servers in self.users.values():
                servers.update({name: None if at is None else 0.0 for name, at in servers.items()})

    def remember(self) -> None:
        """Write down what there is, whole or not at all."""
        if self.state is not None:
            (part := self.state.with_suffix(".part")).write_text(json.dumps(self.users))
            part.replace(self.state)

    def start(self, user: str, server: str, now: float) -> int:
        """A server is asked for; the status to answer."""
        if (servers := self.users.get(user)) is None:
            return 404
        if server in servers:
            return 400  # as JupyterHub does: already running or pending
        how = self.behaviour
        self.counts["asked"] += 1
        if how.busy_every and self.counts["asked"] % how.busy_every == 0:
            return 429
        self.counts["starts"] = n = self.counts["starts"] + 1
        if how.refuse_every and n % how.refuse_every == 0:
            return 500
        fails = (how.fail_every and n % how.fail_every == 0) or bool(how.fail_named and how.fail_named in user)
        servers[server] = None if fails else now + how.delay
        if fails:
            self.counts["most failing at a time"] = max(
                self.counts["most failing at a time"], sum(at is None for found in self.users.values() for at in found.values()))
        return 202 if how.delay or servers[server] is None else 201

    def model(self, user: str, now: float) -> dict[str, object]:
        """A user as JupyterHub shows it."""
        servers, told = {}, {"created": _STARTED, "last_activity": _STARTED, **self.told.get(user, {})}
        for name, ready_at in self.users[user].items():
            ready = ready_at is not None and now >= ready_at
            servers[name] = {
                "name": name, "ready": ready, "stopped": False, "pending": None if ready else "spawn",
                "url": self.url(user, name), "started": _STARTED, "last_activity": told["last_activity"],
                "progress_url": f"/hub/api/users/{user}/server/progress", "user_options": {},
            }
        return {
            "name": user, "kind": "user", "admin": False, "roles": ["user"], "groups": [], "created": told["created"],
            "last_activity": told["last_activity"], "pending": None, "server": self.url(user, "") if "" in servers else None,
            "servers": servers,
        }

    def page(self, query: str, now: float) -> dict[str, object]:
        """A page of the users, as JupyterHub's paginated answers have it."""
        asked = dict(parse_qsl(query))
        offset, limit = int(asked.get("offset", 0)), int(asked.get("limit", 50))
        active = asked.get("state") == "active"
        names = (name for name, servers in self.users.items() if servers or not active)
        found = list(islice(names, offset, offset + limit + 1))
        more = {"offset": offset + limit, "limit": limit} if len(found) > limit else None
        items = [self.model(name, now) for name in found[:limit]]
        return {"items": items, "_pagination": {"offset": offset, "limit": limit, "next": more}}

    @staticmethod
    def url(user: str, server: str) -> str:
        """The path of a server."""
        return f"/user/{user}/{server}/" if server else f"/user/{user}/"


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered one after the other."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._waiting = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self._hub.links.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._hub.links.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._buffer += data
        while not self._waiting:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head, length = self._buffer[:end], 0
            at = head.lower().find(b"content-length:")
            if at >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            path, _, query = target.partition("?")
            if not self._hub.behaviour.slow:
                self._answer(method, path, query)
                continue
            self._waiting = True
            self._loop.call_later(self._hub.behaviour.slow, self._late, method, path, query)

    def _late(self, *request: str) -> None:
        self._waiting = False
        if not self._transport.is_closing():
            self._answer(*request)
            self.data_received(b"")

    def _answer(self, method: str, path: str, query: str) -> None:
        hub, parts = self._hub, path.split("/hub/api", 1)[-1].strip("/").split("/")
        hub.counts[f"{method} {'/'.join(parts[0:1] + parts[2:3])}"] += 1
        user = unquote(parts[1]) if len(parts) > 1 else ""
        server = unquote(parts[3]) if len(parts) > 3 and parts[2] == "servers" else ""
        now = self._loop.time()
        told = hub.behaviour.status
        match method, parts:
            case "GET", ["proxy"]:
                self._send(200, {hub.url(user, ""): {"target": "http://x"} for user, servers in hub.users.items() if "" in servers})
            case "POST", ["proxy"]:
                self._send(200)
            case _ if told and parts[0] not in ("counts", "behave"):
                self._send(told, {"status": told, "message": "told to"})
            case "GET", ["behave"]:
                asked = dict(parse_qsl(query))
                hub.behaviour = replace(hub.behaviour, status=int(asked.get("status", 0)), slow=float(asked.get("slow", 0)))
                self._send(200, {})
            case "GET", ["" | "info" | "health" | "user"]:
                self._send(200, {"version": _VERSION} | ({"kind": "service", "name": "dockyard"} if parts == ["user"] else {}))
            case "GET", ["counts"]:
                self._send(200, dict(hub.counts))
            case "GET", ["users"]:
                self._send(200, hub.page(query, now))
            case "POST", ["users", _]:
                if user in hub.users:
                    self._send(409, {"status": 409, "message": f"User {user} already exists"})
                else:
                    hub.users[user], hub.told[user] = {}, {"created": datetime.now(UTC).isoformat()}
                    hub.remember()
                    self._send(201, {"name": user, "kind": "user", "admin": False, "servers": {}})
            case "GET", ["users", _] if user in hub.users:
                self._send(200, hub.model(user, now))
            case "DELETE", ["users", _] if user in hub.users:
                del hub.users[user]
                hub.told.pop(user, None)
                hub.remember()
                self._send(204)
            case "POST", ["users", _, "server" | "servers"] | ["users", _, "servers", _]:
                status = hub.start(user, server, now)
                hub.remember()
                self._send(status, {"status": status, "message": "no"} if status >= 400 else None)
            case "DELETE", ["users", _, "server" | "servers"] | ["users", _, "servers", _] if user in hub.users:
                hub.users[user].pop(server, None)
                hub.remember()
                self._send(204)
            case "GET", ["users", _, "server", "progress"] | ["users", _, "servers", _, "progress"]:
                self._progress(user, server, now)
            case _:
                self._send(404, {"status": 404, "message": "Not Found"})

    def _progress(self, user: str, server: str, now: float) -> None:
        ready_at = self._hub.users.get(user, {}).get(server, -1.0)
        if ready_at == -1.0:
            self._send(404, {"status": 404, "message": "Not Found"})
            return
        url = self._hub.url(user, server)
        last = {"progress": 100, "ready": True, "message": f"Server ready at {url}", "url": url}
        if ready_at is None:
            last = {"progress": 100, "failed": True, "message": "Spawn failed: told to"}
        begin = _SSE + _event({"progress": 0, "message": "Server requested"})
        begin += _event({"progress": 50, "message": "Spawning server..."})
        finish = _event(last) + b"0\r\n\r\n"
        wait = (ready_at if ready_at is not None else now + self._hub.behaviour.delay) - now
        if wait <= 0:
            self._transport.write(begin + finish)
            return
        self._transport.write(begin)
        self._waiting = True
        self._loop.call_later(wait, self._finish, finish)

    def _finish(self, rest: bytes) -> None:
        self._waiting = False
        if not self._transport.is_closing():
            self._transport.write(rest)
            self.data_received(b"")

    def _send(self, status: int, body: object | None = None) -> None:
        said = b"" if body is None else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{self._hub.behaviour.sign}Content-Type: application/json\r\n"
        head += "Retry-After: 1\r\n" if status == 429 else ""
        head += "" if status == 204 else f"Content-Length: {len(said)}\r\n"
        self._transport.write(f"{head}\r\n".encode() + said)


def _event(data: dict[str, object]) -> bytes:
    text = f"data: {json.dumps(data)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(text), text)


async def serve(hub: Hub, *, host: str = "127.0.0.1", port: int = 0, path: str | None = None) -> asyncio.Server:
    """Listen on a unix socket or on TCP; the server is the caller's to close."""
    loop = asyncio.get_running_loop()
    if path is not None:
        return await loop.create_unix_server(lambda: Connection(hub), path, backlog=1024)
    return await loop.create_server(lambda: Connection(hub), host, port, backlog=1024)


async def _main(args: argparse.Namespace) -> None:
    hub = Hub(Behaviour(args.delay, args.refuse_every, args.fail_every, args.busy_every), state=args.state)
    hub.recall()
    server = await serve(hub, port=args.port, path=args.socket)
    where = args.socket or f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hub/api/"
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"listening {where}", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="A hub that starts nothing.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: a free one")
    parser.add_argument("--socket", help="a unix socket instead")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds until a server is ready")
    parser.add_argument("--refuse-every", type=int, default=0, help="answer every n-th start with 500")
    parser.add_argument("--fail-every", type=int, default=0, help="let every n-th server fail")
    parser.add_argument("--busy-every", type=int, default=0, help="answer every n-th start with 429")
    parser.add_argument("--state", type=Path, help="a file to remember users and servers in")
    uvloop.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
