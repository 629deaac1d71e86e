"""When a user's server was last used, as the server itself says: the hub knows only of what went through the proxy.

A kernel that computes for an hour without a browser is use, and so is a terminal; Jupyter Server tells both. It is asked
through the proxy, which takes the question for activity: so it is asked once, when nothing but its answer keeps it from being
stopped. What answers is a stranger's code: little is read of it, no redirect is followed, and it can lie about itself alone.
"""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

_PATIENCE = aiohttp.ClientTimeout(total=5)
_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Use:
    """What a server says of its use."""

    last: datetime  # the newest of kernels, terminals and requests
    busy: bool  # whether a kernel computes


class Servers:
    """Asks user servers. `base` is where they are reached (http://proxy:8000/), or empty: at their own addresses."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def use(self, url: str, token: str) -> Use | None:
        """The use of the server at this address; None where it does not tell."""
        place = self._base + urlsplit(url).path if self._base else url
        if urlsplit(place).scheme not in ("http", "https"):
            return None
        self._session = self._session or aiohttp.ClientSession(timeout=_PATIENCE, cookie_jar=aiohttp.DummyCookieJar())
        headers = {"Authorization": f"token {token}"}
        status, kernels = await asyncio.gather(self._get(f"{place}api/status", headers), self._get(f"{place}api/kernels", headers))
        last = _time(status.get("last_activity")) if isinstance(status, dict) else None
        if last is None:
            return None
        found = [kernel for kernel in kernels if isinstance(kernel, dict)] if isinstance(kernels, list) else []
        return Use(last, any(kernel.get("execution_state") == "busy" for kernel in found[:1000]))

    async def _get(self, url: str, headers: dict[str, str]) -> Any:
        assert self._session is not None
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    return None
                body = await response.content.read(_BYTES)
                while len(body) < _BYTES and (more := await response.content.read(_BYTES - len(body))):
                    body += more
                return json.loads(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
            return None


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
