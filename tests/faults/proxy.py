"""A small proxy between a process and what it depends on, which can be told to break.

It carries bytes, on unix sockets and on TCP, and knows nothing of what they mean. Faults: `cut` ends every connection,
`blackhole` holds all bytes back, on new connections too, and lets them go later, `half_open` forgets the present connections
without closing them (what a lost NAT entry looks like: they never answer again, new ones work), `refusing` closes new ones,
`latency` delays each piece, `rate` makes a thin line of it.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Self

_PIECE = 1 << 16
_KEPT = 60.0  # seconds until keep-alives tell the other side that nobody is there any more (services.db asks Postgres for that)
_LAST = 10.0  # seconds for connections to end with the proxy; those that the end of the loop cancels are told of as errors


class Proxy:
    """Listens at one place and connects to another. A place is a socket's path or a TCP port of this machine."""

    def __init__(self, listen: Path | int, target: Path | int) -> None:
        self._listen = listen
        self._target = target
        self._server: asyncio.Server
        self._links: set[Link] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self._flow = asyncio.Event()
        self._flow.set()
        self.latency = 0.0  # seconds for each piece, in each direction
        self.rate = 0  # bytes per second and direction of a connection; 0: as many as there are
        self.refusing = False
        self.came = 0  # connections, those too that were refused

    async def __aenter__(self) -> Self:
        if isinstance(self._listen, int):
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._listen, limit=_PIECE)
        else:
            self._server = await asyncio.start_unix_server(self._accept, str(self._listen), limit=_PIECE)
            self._listen.chmod(0o666)  # who may come so far is decided by its directory
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.go_on()
        deadline = asyncio.get_running_loop().time() + _LAST
        while self._accepting and asyncio.get_running_loop().time() < deadline:
            self.cut()
            await asyncio.wait(self._accepting, timeout=0.1)
        await self._server.wait_closed()

    def cut(self) -> None:
        """End every connection."""
        for link in tuple(self._links):
            link.abort()

    def blackhole(self) -> None:
        """Hold everything back, on new connections too."""
        self._flow.clear()

    def half_open(self) -> None:
        """The present connections carry nothing any more and stay open on this side; new ones work."""
        for link in tuple(self._links):
            link.silent = True

    def go_on(self) -> None:
        """Let what was held back go, accept again, without latency."""
        self.refusing, self.latency, self.rate = False, 0.0, 0
        self._flow.set()

    def lead(self, target: Path | int) -> None:
        """End every connection; new ones lead elsewhere."""
        self._target = target
        self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        self.came += 1
        if self.refusing:
            writer.transport.abort()
            return
        await self._flow.wait()
        try:
            there = await self._open()
        except OSError:
            writer.transport.abort()
            return
        link = Link(self, writer, there[1])
        self._links.add(link)
        try:
            await asyncio.gather(link.carry(reader, there[1]), link.carry(there[0], writer))
        finally:
            self._links.discard(link)
            link.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection("127.0.0.1", self._target, limit=_PIECE)
        return await asyncio.open_unix_connection(str(self._target), limit=_PIECE)

    async def pass_time(self, size: int) -> None:
        """Wait as long as the present fault says for so many bytes."""
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.rate:
            await asyncio.sleep(size / self.rate)
        await self._flow.wait()


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, *writers: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers = writers
        self._ended = asyncio.Event()
        self.silent = False

    async def carry(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        """Carry one direction to its end."""
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE):
                await self._proxy.pass_time(len(piece))
                if not self.silent:
                    to.write(piece)
                    await to.drain()
        if self.silent:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _KEPT)
        self.abort()

    def abort(self) -> None:
        """End both sides."""
        self._ended.set()
        for writer in self._writers:
            if not writer.is_closing():
                writer.transport.abort()
