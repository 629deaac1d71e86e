"""The forge: one process that has imported what our parts import, and forks them.

Five Python processes that import the same 70 MB one after the other take seconds of a small machine and hundreds of
megabytes. Forked from one that has imported it once, they start in a tenth of a second and share what they do not change.
This is the supervisor's side; `forged` is the process. Each message is a packet of JSON on a socket in a private directory; a
request brings the pipe that the new part writes to. The forge is a part like others: it is started again after a crash.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKET = 1 << 17  # bytes of a message: an environment, mostly
PROBE = 0.03  # seconds between looks for a forge that is being started
GONE = -9  # the status of a part whose forge has died; the kernel ends it then


@dataclass(slots=True)
class Forked:
    """A part that the forge has forked."""

    pid: int
    ended: asyncio.Future[int]  # its status: the exit status, or minus the signal


class Forge:
    """The supervisor's connection to the forge."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket: socket.socket | None = None
        self._asked: asyncio.Future[Forked] | None = None
        self._turn = asyncio.Lock()
        self._running: dict[int, Forked] = {}

    async def connect(self) -> bool:
        """Whether the forge is there; connects to a new one."""
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            made.setblocking(False)
            try:
                made.connect(str(self.path))
            except OSError:
                made.close()
                return False
            self._socket = made
            asyncio.get_running_loop().add_reader(made, self._read)
        return True

    async def fork(self, words: tuple[str, ...], environ: Mapping[str, str], output: int, **how: Any) -> Forked:
        """Start `python -m words` with this environment, writing to the file descriptor `output`.

        `how` are uid, gid (None: as we are), cwd, signal (what it gets when the forge dies). Waits for a forge.
        """
        request = json.dumps({"words": words, "environ": dict(environ), **how}).encode()
        async with self._turn:
            while True:
                if self._socket is None:
                    await asyncio.sleep(PROBE)
                    continue
                self._asked = asyncio.get_running_loop().create_future()
                try:
                    socket.send_fds(self._socket, [request], [output])
                    return await self._asked
                except ConnectionError:
                    self._lost()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(PACKET)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        told = json.loads(data)
        pid = int(told["pid"])
        if "status" in told:
            if (forked := self._running.pop(pid, None)) and not forked.ended.done():
                forked.ended.set_result(os.waitstatus_to_exitcode(told["status"]))
        elif self._asked is not None and not self._asked.done():
            self._running[pid] = forked = Forked(pid, asyncio.get_running_loop().create_future())
            self._asked.set_result(forked)

    def _lost(self) -> None:
        """The forge has died, and its children with it."""
        self.close()
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(ConnectionError("the forge has died"))
        for forked in self._running.values():
            if not forked.ended.done():
                forked.ended.set_result(GONE)
        self._running.clear()

    def close(self) -> None:
        """Let go of it."""
        if self._socket is not None:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
