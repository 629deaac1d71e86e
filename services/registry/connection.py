"""Requests to one registry, with authentication: what is asked again after a 401, and what an answer means.

Errors: `Unreachable` where no answer comes or the registry itself fails (5xx), `RateLimited` for 429, `Misconfigured`
where our credentials are refused. Everything else is an answer, and the caller's business.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from services.errors import DockyardError, Misconfigured, RateLimited, Unreachable
from services.observe.breakers import Breaker
from services.registry.credentials import Credentials, find
from services.registry.tokens import Challenge, Tokens
from services.settings import RegistrySettings

_LOST = (aiohttp.ClientError, TimeoutError, OSError)
Body = bytes | Callable[[], AsyncIterator[bytes]] | None


class Connection:
    """One session with a registry; made anywhere, connected at the first request."""

    def __init__(self, settings: RegistrySettings) -> None:
        if not settings.url:
            raise Misconfigured("Setting registry.url is empty: there is no registry.")
        self.base = settings.url.rstrip("/")
        self.host = urlsplit(settings.url).netloc
        self._settings = settings
        self._tokens = Tokens()
        self._credentials: Credentials | None = None
        self._challenge = Challenge("")
        self._session: aiohttp.ClientSession | None = None
        self._breaker = Breaker(f"Registry {self.host}")

    async def close(self) -> None:
        """Close all connections; a later request opens new ones."""
        if self._session:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context()
            if self._settings.ca:
                context.load_verify_locations(self._settings.ca)
            seconds = self._settings.timeout
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=32, ssl=context), cookie_jar=aiohttp.DummyCookieJar(), trust_env=True,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=max(seconds, 1.0)), auto_decompress=False,
            )
        return self._session

    @asynccontextmanager
    async def request(
        self, method: str, path: str, scopes: tuple[str, ...], *, headers: Mapping[str, str] | None = None, body: Body = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, with its answer still to be read; `path` is relative to the registry or a whole address.

        `scopes` are what a token must allow, such as `repository:name:pull`. A body that is streamed is a function that
        begins the stream anew. An upload is also waited for longer than an answer.
        """
        if wait := self._breaker.wait():
            raise Unreachable(f"{self._breaker.state().reason} It is asked again in {max(wait, 1.0):.0f} s.")
        try:
            async with self._request(method, path, scopes, headers=headers, body=body) as response:
                self._breaker.succeeded()
                yield response
        except RateLimited:
            self._breaker.succeeded()
            raise
        except Unreachable as error:
            self._breaker.failed(error.sentence)
            raise
        except DockyardError:
            self._breaker.succeeded()
            raise
        except BaseException:
            self._breaker.abandoned()
            raise

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, scopes: tuple[str, ...], *, headers: Mapping[str, str] | None = None, body: Body = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = urljoin(self.base + "/", path)
        ours = urlsplit(url).netloc == self.host  # credentials go nowhere else
        if self._credentials is None:
            self._credentials = await find(self._settings)
        again = True
        while True:
            sent = dict(headers or {})
            authorization = await self._authorization(scopes) if ours else ""
            if authorization:
                sent["Authorization"] = authorization
            try:
                async with self._open().request(
                    method, URL(url, encoded=True), headers=sent, data=body() if callable(body) else body,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.timeout, sock_read=600.0)
                    if callable(body) else aiohttp.helpers.sentinel,
                ) as response:
                    if response.status == 401 and again and ours:
                        again = False
                        if await self._challenged(response, scopes):
                            continue
                    self._judge(response, bool(authorization))
                    yield response
                    return
            except _LOST as error:
                raise self._unreachable(error) from error

    def _judge(self, response: aiohttp.ClientResponse, known: bool) -> None:
        if response.status == 429:
            raise RateLimited(f"The image registry {self.host} answers that we ask too often. Try again in some minutes.")
        if response.status >= 500:
            raise Unreachable(f"The image registry {self.host} fails at the moment (status {response.status}).")
        if response.status == 401 and not (known and self._settings.not_found_401):
            raise self._refused()

    async def _challenged(self, response: aiohttp.ClientResponse, scopes: tuple[str, ...]) -> bool:
        """Learn from a 401 how to ask again; False where asking again is useless."""
        credentials = self._credentials or Credentials()
        before, self._challenge = self._challenge, Challenge.read(response.headers.get("WWW-Authenticate", ""))
        if self._challenge.scheme == "basic":
            if not credentials.basic or before.scheme == "basic":
                raise self._refused()
            return True
        if self._challenge.scheme == "bearer":
            self._tokens.drop(" ".join(scopes))
            return True
        return False

    async def _authorization(self, scopes: tuple[str, ...]) -> str:
        credentials = self._credentials or Credentials()
        if self._challenge.scheme == "basic":
            return credentials.basic
        if self._challenge.scheme == "bearer":
            key = " ".join(scopes)
            token = self._tokens.get(key)
            if token is None:
                token, seconds = await self._fetch(scopes, credentials)
                self._tokens.keep(key, token, seconds)
            return f"Bearer {token}"
        return ""

    async def _fetch(self, scopes: tuple[str, ...], credentials: Credentials) -> tuple[str, float | None]:
        realm = self._settings.token_url or self._challenge.realm
        if urlsplit(realm).scheme not in ("http", "https"):
            raise Misconfigured(f"The image registry {self.host} names no place to fetch tokens from.")
        if self.base.startswith("https:") and credentials.username and not realm.startswith("https:"):
            raise Misconfigured(f"The image registry {self.host} wants our password sent without encryption; it was not.")
        service = [("service", self._challenge.service)] if self._challenge.service else []
        wanted = [("scope", scope) for scope in scopes]
        try:
            if credentials.identity:
                form = dict([("grant_type", "refresh_token"), ("refresh_token", credentials.identity), ("client_id", "dockyard"),
                             ("scope", " ".join(scopes)), *service])
                async with self._open().post(realm, data=form) as response:
                    return await self._token(response)
            headers = {"Authorization": credentials.basic} if credentials.basic else {}
            async with self._open().get(realm, params=[*service, *wanted], headers=headers) as response:
                return await self._token(response)
        except _LOST as error:
            raise self._unreachable(error, " for a token") from error

    async def _token(self, response: aiohttp.ClientResponse) -> tuple[str, float | None]:
        if response.status in (401, 403):
            raise self._refused()
        if response.status >= 300:
            raise Unreachable(f"The image registry {self.host} gives no token (status {response.status}).")
        try:
            found: Any = await response.json(content_type=None)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, AttributeError) as error:
            raise Unreachable(f"The image registry {self.host} gives no token that can be read.") from error
        return str(token), found.get("expires_in")

    def _refused(self) -> Misconfigured:
        user = (self._credentials or Credentials()).username
        if user:
            return Misconfigured(
                f"The image registry {self.host} refuses the user {user}: the password or token is wrong, or may not do this.")
        return Misconfigured(f"The image registry {self.host} wants credentials: set registry.username and registry.password.")

    def _unreachable(self, error: BaseException, what: str = "") -> Unreachable:
        words = "it takes too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return Unreachable(f"The image registry {self.host} does not answer{what}: {words}.")
