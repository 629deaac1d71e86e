"""Requests to JupyterHub's REST API: the only module that knows the HTTP client.

A launcher makes hundreds of calls per second, and there the client's own cost counts: aiohttp takes 0.1 ms of CPU for a
call where httpx takes 2.8 ms. One session with kept connections, over TCP or to a unix socket (`http+unix://<quoted
path>/hub/api/`). Every failure to get an answer is `Unreachable`; what an answer means is decided in `client`.

Every answer, and every one that does not come, is told to the `Throttle`; while its breaker is open nothing is asked.

JupyterHub signs its answers with its version (jupyterhub.handlers.base.BaseHandler.set_default_headers). A refusal without
it is somebody else's: of a proxy that has lost the way, of what was given the hub's address. It says nothing of a launch. A
proxy may take the header away from all answers; so it is asked for only where the answers to what went well have it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import aiohttp
from yarl import URL

from services.errors import Misconfigured, Unreachable
from services.hub.throttle import Throttle

_UNIX = "http+unix"
# A hub answers a start when the server is up or slow_spawn_timeout is over, a stop when it is gone or slow_stop_timeout is
# over (10 seconds by default), so an answer may be late; after twice as long nobody is there: the connection has died without
# a word. Every call may be made again, and then adopts what the first one has begun. A stream gets a sign of life every 8 s.
_CALL = aiohttp.ClientTimeout(total=20, sock_connect=5)
_STREAM = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
_LOST = (aiohttp.ClientError, TimeoutError, OSError)
_SIGN = "X-JupyterHub-Version"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the hub."""

    status: int
    body: bytes
    retry_after: int | None = None  # seconds


class Connection:
    """One session with a hub; made anywhere, connected at the first call, bound to that event loop."""

    def __init__(self, url: str, token: str, throttle: Throttle, *, limit: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", _UNIX) or not parts.netloc or not parts.path.endswith("/hub/api/"):
            raise Misconfigured(f"Setting hub.url: {url!r} is not the address of a hub's API, such as http://hub:8081/hub/api/.")
        self.base_path = parts.path.removesuffix("hub/api/")
        self._socket = unquote(parts.netloc) if parts.scheme == _UNIX else ""
        self._base = f"http://hub{parts.path}" if self._socket else url
        self._headers = {"Authorization": f"token {token}"}
        self._limit = limit
        self._throttle = throttle
        self._session: aiohttp.ClientSession | None = None
        self._retired: dict[asyncio.Task[None], aiohttp.ClientSession] = {}  # sessions that are closed once what they have begun has ended
        self._signs = True  # whether the last answer to what went well was signed

    async def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        retired, self._retired = self._retired, {}
        for task, session in retired.items():
            task.cancel()
            await session.close()
        if self._session:
            await self._session.close()
            self._session = None

    async def call(self, method: str, path: str, body: bytes | None = None, accept: str = "application/json") -> Reply:
        """One request; `path` is quoted and relative to the API. `Unreachable` where no answer comes, or none is to be expected."""
        self._may_ask()
        begun = time.monotonic()
        try:
            async with self._open().request(
                method, self._url(path), data=body, headers={"Accept": accept}, timeout=_CALL, allow_redirects=False
            ) as response:
                self._heed(response)
                reply = await _reply(response)
        except _LOST as error:
            raise self._lost(_words(error)) from error
        except asyncio.CancelledError:
            self._throttle.breaker.abandoned()
            raise
        # What starts and stops servers takes as long as a server does. Such a 500 may be that server's fault alone.
        of_a_server = path.endswith("/server")
        if reply.status != 500 or not of_a_server:
            self._throttle.answered(reply.status, None if of_a_server else time.monotonic() - begun, reply.retry_after)
        return reply

    async def events(self, path: str) -> AsyncGenerator[Reply | bytes, None]:
        """The `data` of each server-sent event, until the hub ends the stream; `Unreachable` where it is cut.

        An answer other than 200 comes as one `Reply`.
        """
        self._may_ask()
        try:
            async with self._open().get(
                self._url(path), headers={"Accept": "text/event-stream"}, timeout=_STREAM, allow_redirects=False
            ) as response:
                self._heed(response)
                self._throttle.answered(response.status, None)
                if response.status != 200:
                    yield await _reply(response)
                    return
                rest = b""
                while chunk := await response.content.readany():
                    *whole, rest = (rest + chunk).split(b"\n\n")
                    for event in whole:
                        if event.startswith(b"data: "):
                            yield event[6:]
        except _LOST as error:
            raise self._lost(_words(error)) from error
        except (asyncio.CancelledError, GeneratorExit):
            self._throttle.breaker.abandoned()
            raise

    def _may_ask(self) -> None:
        breaker = self._throttle.breaker
        if breaker.state().state != "paused" and (wait := breaker.wait()):
            raise Unreachable(f"{breaker.state().reason or 'JupyterHub does not answer.'} It is asked again in {wait:.0f} s.")

    def _heed(self, response: aiohttp.ClientResponse) -> None:
        """`Unreachable` where this is somebody else's refusal; no connection of this time is used again."""
        signed = _SIGN in response.headers
        if response.status < 300:
            self._signs = signed
        elif response.status < 500 and response.status != 429 and self._signs and not signed:
            self._retire()
            raise self._lost(f"what is at its address says {response.status} and is no JupyterHub")

    def _retire(self) -> None:
        if old := self._session:
            self._session = None
            task = asyncio.create_task(_close(old))
            self._retired[task] = old
            task.add_done_callback(lambda task: self._retired.pop(task, None))

    def _lost(self, why: str) -> Unreachable:
        sentence = f"JupyterHub does not answer: {why}."
        self._throttle.lost(sentence)
        return Unreachable(sentence)

    def _url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            unix, limit = self._socket, self._limit
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(unix, limit=limit) if unix else aiohttp.TCPConnector(limit=limit),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
            )
        return self._session


async def _close(session: aiohttp.ClientSession) -> None:
    """Close a session when the calls that it has begun are over."""
    await asyncio.sleep(_CALL.total or 0)
    await session.close()


async def _reply(response: aiohttp.ClientResponse) -> Reply:
    seconds = response.headers.get("Retry-After", "")
    return Reply(response.status, await response.read(), int(seconds) if seconds.isdigit() else None)


def _words(error: BaseException) -> str:
    """What users are told; where it was looked for is nobody's business."""
    if isinstance(error, TimeoutError):
        return "it takes too long"
    return "it cannot be reached" if isinstance(error, aiohttp.ClientConnectorError) else "it has broken the connection off"
