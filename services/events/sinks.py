"""Where published events go: a file, standard output, a webhook. A sink takes a batch whole or raises `Unreachable`."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from services.errors import Unreachable
from services.settings import EventSettings

Bodies = Sequence[dict[str, Any]]


class Sink(Protocol):
    """Takes batches, in order."""

    name: str

    async def take(self, bodies: Bodies) -> None:
        """Take a batch; raises `Unreachable` where it cannot, and is given the same batch again later."""

    async def aclose(self) -> None:
        """Close what is open."""


def _lines(bodies: Bodies) -> bytes:
    return b"".join(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for body in bodies)


class File:
    """A file of JSON lines, opened for each batch, so that it may be moved away; on disk before the batch counts as sent."""

    name = "file"

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def take(self, bodies: Bodies) -> None:
        """See `Sink`."""
        try:
            await asyncio.to_thread(self._append, _lines(bodies))
        except OSError as error:
            raise Unreachable(f"The file of events cannot be written ({error.strerror}).") from error

    def _append(self, data: bytes) -> None:
        # No reader but its owner and group: what people launch is nobody else's business.
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640), "ab", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())

    async def aclose(self) -> None:
        """See `Sink`."""


class Stdout:
    """Standard output; the process's own log is on standard error."""

    name = "stdout"

    async def take(self, bodies: Bodies) -> None:
        """See `Sink`."""
        try:
            await asyncio.to_thread(self._write, _lines(bodies).decode())
        except OSError as error:
            raise Unreachable(f"Standard output cannot be written ({error.strerror}).") from error

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    async def aclose(self) -> None:
        """See `Sink`."""


class Webhook:
    """POST with a JSON list. Whatever is not a 2xx is tried again; a redirect is not followed. The answer is not read."""

    name = "webhook"

    def __init__(self, settings: EventSettings) -> None:
        self._url = settings.webhook.get_secret_value()
        token = settings.webhook_token.get_secret_value()
        self._headers = {"content-type": "application/json", "user-agent": "dockyard"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._timeout = aiohttp.ClientTimeout(total=settings.timeout)
        self._session: aiohttp.ClientSession | None = None

    async def take(self, bodies: Bodies) -> None:
        """See `Sink`. Its address may be a secret, so no error names it."""
        self._session = self._session or aiohttp.ClientSession(timeout=self._timeout, headers=self._headers)
        try:
            async with self._session.post(
                self._url, data=json.dumps(list(bodies), separators=(",", ":")).encode(), allow_redirects=False,
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise Unreachable(f"The webhook answers {answer.status}.")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unreachable(f"The webhook does not answer ({type(error).__name__}).") from error

    async def aclose(self) -> None:
        """See `Sink`."""
        if self._session is not None:
            await self._session.close()


def make_sinks(settings: EventSettings) -> list[Sink]:
    """The sinks that are set."""
    found: list[Sink] = []
    if settings.file:
        found.append(File(settings.file))
    if settings.stdout:
        found.append(Stdout())
    if settings.webhook.get_secret_value():
        found.append(Webhook(settings))
    return found
