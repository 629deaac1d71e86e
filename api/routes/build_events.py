"""The stream of one build, for its page and for `logs -f`.

Few people look at a build by itself: those who wait follow their launch, whose stream is driven by the
fan-out. So this one asks the database, twice a second while the build runs, and holds nothing in memory. Whoever does not
read is dropped after a while, as from the other streams, and comes back with its position.
"""

import asyncio
import contextlib
import json

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.streams import Fanout
from api.streams.response import HEADERS
from api.streams.watcher import PATIENCE
from services.db import Database
from services.errors import DockyardError
from services.states import BUILD_ENDED
from services.usecases import read

log = structlog.get_logger()
_PAUSE = 0.5  # seconds between two looks
_KEEP_ALIVE = 40  # looks without news after which a comment keeps the connection open


def text_of(body: str) -> bytes:
    """The text of stored lines: one JSON object a line in, the messages as they came out."""
    return "".join(str(json.loads(line).get("message", "")) for line in body.split("\n") if line).encode()


class BuildStream(Response):
    """Lines after `line`, then the end. `id` is `<build>.<0, or 1 for the end>.<line>`."""

    def __init__(self, fanout: Fanout, db: Database, build: str, line: int, patience: float = PATIENCE) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = HEADERS
        self._fanout = fanout
        self._db = db
        self._build = build
        self._line = line
        self._patience = patience  # seconds that one send may take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the build has ended or the other side has gone."""
        self._fanout.watchers += 1
        gone = asyncio.create_task(_gone(receive))

        async def say(body: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(self._patience):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await say(b"retry: 1000\n\n")
            quiet = 0
            while not gone.done():
                # The state first: lines that came before the end are then all there.
                row = await read.build(self._db, self._build)
                lines = await self._lines()
                quiet = 0 if lines else quiet + 1
                if quiet >= _KEEP_ALIVE:
                    lines, quiet = b":keepalive\n\n", 0
                if row["state"] in BUILD_ENDED and not lines:
                    await say(self._end(row["state"], row["reason"]), more=False)
                    return
                if lines:
                    await say(lines)
                else:
                    await asyncio.wait([gone], timeout=_PAUSE)
        except DockyardError:
            # The database is away, or the build has expired: the reader comes back with its position.
            with contextlib.suppress(TimeoutError):
                await say(b"", more=False)
        except TimeoutError:
            log.info("slow_reader_dropped", build=self._build[:12], line=self._line)
        finally:
            self._fanout.watchers -= 1
            gone.cancel()

    async def _lines(self) -> bytes:
        out = []
        for first, last, body in await read.log_text(self._db, self._build, self._line):
            for number, line in enumerate(body.split("\n"), first):
                if number > self._line:
                    out.append(f"id: {self._build}.0.{number}\ndata: {line}\n\n")
            self._line = last
        return "".join(out).encode()

    def _end(self, state: str, reason: dict[str, str] | None) -> bytes:
        said = {"phase": state if state != "cancelled" else "failed", "message": "", "state": state, "reason": reason}
        return f"id: {self._build}.1.{self._line}\ndata: {json.dumps(said)}\n\n".encode()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
