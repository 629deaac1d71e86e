"""An HTTP client for addresses that strangers name: it obeys a `Rule` on every hop.

It connects to the addresses that the rule has checked, follows redirects itself so that each is checked
like the first address, hands credentials to no other origin, reads a bounded number of bytes within a
bounded time, and ignores proxies, cookies and netrc of the process.
"""

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from services.egress.addresses import literal
from services.egress.resolve import normal_host
from services.egress.rule import Rule
from services.errors import ForbiddenAddress, Unreachable
from services.observe.breakers import PerHost

_FAILS = frozenset({500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET = frozenset({"authorization", "private-token"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said, in the end."""

    url: str  # where the answer came from, after redirects
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises `Unreachable` when it is none, since then something else answers there."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            host = URL(self.url).host
            raise Unreachable(f"{host} answered something that is not JSON; try again later.") from error


class Fetcher:
    """A client with its own connections; belongs to the event loop that first uses it."""

    def __init__(self, rule: Rule, *, timeout: float, limit: int = 8 << 20) -> None:
        self._rule = rule
        self._timeout = timeout
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None
        self._breakers = PerHost("forge")

    async def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, redirects: int = 5, body: bool = True
    ) -> Answer:
        """GET `url`, which is percent-encoded where it must be. Any status is an answer.

        Without `body` nothing but the head is read. Raises `ForbiddenAddress` for what the rule refuses, also
        behind a redirect, and `Unreachable` when there is no answer within the timeout, too long a one, or
        redirects without end.
        """
        here = _parsed(url)
        breaker = self._breakers.of(here.host or "")
        answer = await breaker.ask(lambda: self._get(here, dict(headers or {}), redirects, body=body), lambda error: error.away)
        if answer.status in _FAILS:
            breaker.failed(f"{here.host} answers with an error of its own ({answer.status}).")
        return answer

    async def _get(self, here: URL, sent: dict[str, str], redirects: int, *, body: bool) -> Answer:
        try:
            async with asyncio.timeout(self._timeout):
                for _ in range(redirects + 1):
                    answer = await self._once(here, sent, body=body)
                    if answer.status not in _REDIRECTS or "location" not in answer.headers:
                        return answer
                    there = _next(here, answer.headers["location"])
                    if there.origin() != here.origin():
                        sent = {name: value for name, value in sent.items() if name.lower() not in _SECRET}
                    here = there
        except TimeoutError as error:
            raise Unreachable(
                f"{here.host} did not answer within {self._timeout:g} s; try again later."
            ) from error
        raise Unreachable(f"{here.host} redirects without end; check the link.", away=False)

    async def post(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """POST nothing to `url`, which follows no redirect. Raises as `get`."""
        here = _parsed(url)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._once(here, dict(headers or {}), body=True, method="POST")
        except TimeoutError as error:
            raise Unreachable(f"{here.host} did not answer within {self._timeout:g} s; try again later.") from error

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _once(self, url: URL, headers: Mapping[str, str], *, body: bool, method: str = "GET") -> Answer:
        # An address written out never comes to the resolver, so it is checked here.
        if literal(normal_host(url.host or "")) is not None:
            await self._rule.check(url.host or "", url.port or 0)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=_Checked(self._rule), use_dns_cache=False, limit=32),
                headers={"User-Agent": "Dockyard"}, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        try:
            async with self._session.request(method, url, headers=headers, allow_redirects=False) as response:
                content = await self._read(response) if body else b""
                names = {name.lower(): value for name, value in response.headers.items()}
                return Answer(str(url), response.status, names, content)
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable(
                f"{url.host} has a certificate that cannot be trusted; ask whoever runs it to mend that.", away=False
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Unreachable(f"{url.host} cannot be reached; check the link or try again later.") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > self._limit:
                raise Unreachable(f"{response.url.host} answers more than {self._limit >> 20} MiB; that is too much.", away=False)
        return b"".join(parts)


class _Checked(AbstractResolver):
    """Gives aiohttp the addresses that the rule has checked, and nothing else to connect to."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve and check; see `Rule.check`."""
        return [
            ResolveResult(
                hostname=host, host=str(address), port=port, proto=0,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6, flags=socket.AI_NUMERICHOST,
            )
            for address in await self._rule.check(host, port)
        ]

    async def close(self) -> None:
        """Nothing to close."""


def _parsed(text: str) -> URL:
    try:
        url = URL(text, encoded=True)
        if url.scheme not in ("http", "https") or not url.host or url.user is not None or url.password is not None:
            raise ForbiddenAddress("Only http and https addresses without credentials are fetched.")
        url.port  # noqa: B018 - raises where the port is no number
    except ValueError as error:
        raise ForbiddenAddress("The link leads to something that is not a valid address.") from error
    return url


def _next(here: URL, location: str) -> URL:
    try:
        there = here.join(URL(location))
    except ValueError as error:
        raise ForbiddenAddress(f"{here.host} redirects to something that is not a valid address.") from error
    if here.scheme == "https" and there.scheme == "http":
        raise ForbiddenAddress(f"{here.host} redirects to an unencrypted address, which is not followed.")
    return _parsed(str(there))
