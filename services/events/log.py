"""A build's log as it is stored: chunks of consecutive lines, written only by the build's owner.

A line is one JSON object, ASCII, exactly as it goes over the wire; so the api hands stored bytes to its watchers
without looking into them. The row of the build counts how many lines of the source have been stored, in the statement
that stores them: whoever takes the build over goes on with the next line. A flood is bounded: past the limit lines
are counted but not kept, a notice says so, and the last ones are kept after all. """

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.db import Database
from services.errors import LeaseLost
from services.events.wake import Wake
from services.runtimes.base import LogLine
from services.settings import BuildSettings

_PERIOD = 0.2  # seconds that lines are gathered
_CHUNK = 256 << 10  # bytes of one chunk, about
_TAIL = 100  # lines kept from the end of a flood

_WRITE = sa.text("""
WITH b AS (
  UPDATE build SET lines = lines + :lines, bytes = bytes + :bytes, source_line = :source
  WHERE id = :build AND epoch = :epoch AND lines = :before RETURNING lines
), c AS (
  INSERT INTO log_chunk (build, first, last, body)
  SELECT :build, b.lines - :lines + 1, b.lines, :body FROM b WHERE :lines > 0
)
SELECT lines FROM b
""").bindparams(sa.bindparam("before", type_=sa.Integer), sa.bindparam("lines", type_=sa.Integer), sa.bindparam("source", type_=sa.Integer),
                sa.bindparam("bytes", type_=sa.BigInteger), sa.bindparam("build", type_=sa.Text),
                sa.bindparam("body", type_=sa.Text))
# A write whose commit was not confirmed is made again and finds itself done.
_DONE = sa.text("SELECT lines FROM build WHERE id = :build AND epoch = :epoch AND lines = :after")


def wire(line: LogLine, most: int) -> str:
    """One line as it is stored and sent; what is longer than `most` bytes is cut, and says so."""
    message = line.message
    if len(message) > most:
        message = message[:most] + " … (line cut)\n"
    return json.dumps({"phase": line.phase, "message": message}, separators=(",", ":"))


class LogWriter:
    """Writes one build's log for the owner of `epoch`; `stored` and `size` are what the row already counts."""

    def __init__(
        self, db: Database, wake: Wake, build: str, epoch: int, settings: BuildSettings, *, source: int, lines: int, size: int,
    ) -> None:
        self._db = db
        self._wake = wake
        self._build = build
        self._epoch = epoch
        self._settings = settings
        self._source = source
        self._stored = lines  # what the row counts
        self._lines = lines  # and what is on its way there
        self._size = size
        self._pending: list[str] = []
        self._pending_size = 0
        self._skipped = 0
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._lock = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None
        self._writes: set[asyncio.Task[int]] = set()
        self._failed: BaseException | None = None

    def _full(self) -> bool:
        return self._lines >= self._settings.log_lines or self._size >= self._settings.log_bytes

    async def add(self, lines: Sequence[LogLine], *, source: int) -> None:
        """Take lines; `source` is the number of the last of them in the runtime's log. Raises `LeaseLost`."""
        if self._failed is not None:
            raise self._failed
        for line in lines:
            self._keep(wire(line, self._settings.line_bytes))
        self._source = max(self._source, source)
        if self._pending_size >= _CHUNK:
            await self.flush()
        elif self._timer is None or self._timer.done():
            self._timer = asyncio.create_task(self._later())

    async def say(self, message: str, phase: str = "building") -> None:
        """Add a line of our own, which is not in the runtime's log."""
        await self.add([LogLine(phase, message + "\n")], source=self._source)

    def _keep(self, text: str) -> None:
        if self._full():
            if not self._skipped:
                self._put(wire(LogLine("unknown", "… The log has reached its limit; only its last lines will be kept …\n"), 1000))
            self._skipped += 1
            self._tail.append(text)
            return
        self._put(text)

    def _put(self, text: str) -> None:
        self._pending.append(text)
        self._pending_size += len(text) + 1
        self._lines += 1
        self._size += len(text) + 1

    async def _later(self) -> None:
        await asyncio.sleep(_PERIOD)
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001 - raised again by the next call of the owner
            self._failed = error

    async def flush(self) -> int:
        """Store everything that was taken; the number of the last stored line. Raises `LeaseLost`.

        Whoever waits here may be cancelled: the write goes on, for the lines that it has taken are nowhere else.
        """
        write = asyncio.create_task(self._write())
        self._writes.add(write)
        write.add_done_callback(self._written)
        return await asyncio.shield(write)

    def _written(self, write: "asyncio.Task[int]") -> None:
        self._writes.discard(write)
        if not write.cancelled() and write.exception() is not None:
            self._failed = write.exception()

    async def _write(self) -> int:
        async with self._lock:
            pending, self._pending, self._pending_size = self._pending, [], 0
            body = "\n".join(pending)
            rows: Sequence[Any] = await self._db.rows(_WRITE, {
                "build": self._build, "epoch": self._epoch, "lines": len(pending), "before": self._stored,
                "bytes": len(body), "source": self._source, "body": body,
            })
            rows = rows or await self._db.rows(_DONE, {
                "build": self._build, "epoch": self._epoch, "after": self._stored + len(pending)})
            if not rows:
                raise LeaseLost(f"build {self._build[:12]} has another owner")
            last = self._stored = int(rows[0].lines)
        if pending:
            self._wake.publish(builds={self._build: last})
        return last

    async def close(self) -> int:
        """Store the end of a flood too, then everything; the number of the last line."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
        if self._skipped:
            left_out = self._skipped - len(self._tail)
            self._put(wire(LogLine("unknown", f"… {left_out} lines left out …\n"), 1000))
            for text in self._tail:
                self._put(text)
            self._skipped = 0
            self._tail.clear()
        return await self.flush()
