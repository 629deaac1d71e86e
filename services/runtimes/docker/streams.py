"""Streams of a blocking client, read by a thread and taken without blocking; and the one file of a tar stream."""

import asyncio
import contextlib
import io
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

_AHEAD = 64  # chunks that are read before somebody takes them


@contextlib.asynccontextmanager
async def pumped(
    source: Any, close: Callable[[Any], None], translated: Callable[[Exception], Exception | None],
) -> AsyncIterator[AsyncIterator[bytes]]:
    """An iterator that blocks, as one that does not: a thread reads it, a bounded number of chunks ahead."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes | BaseException | None]()
    room, over = threading.Semaphore(_AHEAD), threading.Event()

    def tell(item: bytes | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def pump() -> None:
        try:
            for chunk in source:
                while not room.acquire(timeout=0.5):
                    if over.is_set():
                        return
                if over.is_set():
                    return
                tell(chunk)
            tell(None)
        except Exception as error:  # noqa: BLE001 - the thread's edge: whatever it is goes to the reader
            tell(translated(error) or error)

    async def chunks() -> AsyncIterator[bytes]:
        while True:
            item = await queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item

    thread = threading.Thread(target=pump, name="docker-stream", daemon=True)
    thread.start()
    try:
        yield chunks()
    finally:
        over.set()
        await asyncio.to_thread(close, source)


def leave(source: Any) -> None:
    """A generator that another thread reads cannot be closed from here; that thread stops after the next chunk."""


async def first_member(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content of the first file of a tar stream, without keeping it. Headers of 512 bytes; POSIX.1-1988."""
    data, left = b"", -1
    async for chunk in chunks:
        data += chunk
        while left < 0 and len(data) >= 512:
            header = tarfile.TarInfo.frombuf(data[:512], "utf-8", "surrogateescape")
            data = data[512:]
            if header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
                skip = (header.size + 511) // 512 * 512
                while len(data) < skip:
                    data += await anext(chunks)
                data = data[skip:]
            else:
                left = header.size if header.isreg() else 0
        if left > 0 and data:
            part, data = data[:left], data[left:]
            left -= len(part)
            yield part
        if left == 0:
            data = b""


def archive_of(files: Mapping[str, bytes]) -> io.BytesIO:
    """Small files as a tar archive, each for its owner alone."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
    archive.seek(0)
    return archive
