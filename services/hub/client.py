"""JupyterHub's REST API, one verb a method. Each may be called again: what is already so is no error.

What a refusal means is decided by reading the hub's model, never by parsing its texts. Errors:

    Unreachable    no answer, or one that says that the hub itself failed (5xx), or that it does not know us (401, 403)
    Overloaded     429; carries the seconds to wait
    LaunchFailed   the hub refuses this server or user
    Misconfigured  of `accepts` alone: the hub does not accept our token

JupyterHub answers 403 to a good token too, whenever it cannot read or write its database at that moment (BaseHandler.prepare takes
any error for nobody; seen with a full disk). No process can tell that from a wrong token by the answer, and one that has
just begun cannot by its memory either. So a launch waits, as for a hub that is away, and `watch` tells who runs it why.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import Enum
from typing import Any, Self
from urllib.parse import quote, urljoin

import structlog

from services.errors import DockyardError, ImageVanished, LaunchFailed, Misconfigured, Overloaded, Unreachable
from services.hub.connection import Connection, Reply
from services.hub.models import Progress, User, UserOptions, progress_of, user_of
from services.hub.throttle import Throttle
from services.settings import HubSettings

log = structlog.get_logger()
_SLOW_PAGE = 0.5  # seconds
_PAGES = "application/jupyterhub-pagination+json"
_WATCH, _PROBE = 0.25, 5.0  # seconds between looks at the breaker, and for an answer
_NO_ROOM = 5  # seconds until a machine without room is tried again
_RETRY_AFTER = 30  # seconds, where a 429 does not say


class Started(Enum):
    """What the hub does with a request to start a server."""

    READY = "ready"
    PENDING = "pending"
    BUSY = "busy"  # it is stopping or checking the server of this name; ask again


class Hub:
    """A hub, as the service `dockyard` may use it. Use as `async with`, or call `close`."""

    def __init__(self, settings: HubSettings) -> None:
        # Each launch under way holds a stream and makes one more call at a time.
        self.throttle = Throttle(settings.concurrency, slow=settings.slow)
        self._connection = Connection(
            settings.url, settings.token.get_secret_value(), self.throttle, limit=2 * settings.concurrency + 16)
        self._public_url = settings.public_url
        self.restart = settings.restart  # seconds that it may be away in the middle of a start

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()

    def address(self, name: str, path: str = "") -> str:
        """Where browsers find a user's server; `path` as the hub gave it, otherwise by the hub's rule. Ends with /."""
        return urljoin(self._public_url, path or f"{self._connection.base_path}user/{quote(name, safe='')}/")

    async def version(self) -> str:
        """The hub's version. Needs no token, so it tells whether the hub answers."""
        return str(json.loads((await self._expect("GET", "", 200)).body)["version"])

    async def accepts(self) -> None:
        """Return where the hub takes us for its service. `Misconfigured` where it does not, whatever else may be the cause."""
        reply = await self._connection.call("GET", "user")
        if reply.status in (401, 403):
            raise Misconfigured(f"Setting hub.token: JupyterHub refuses it ({_words(reply)}).")
        if reply.status != 200:
            raise _refusal(reply)

    async def watch(self) -> None:
        """For ever: ask a hub that was away, once its breaker lets somebody try, whether it is back; and tell whether it takes us."""
        accepted = await self._look(True)
        while True:
            await asyncio.sleep(_WATCH)
            if self.throttle.breaker.half_open:
                accepted = await self._look(accepted)

    async def _look(self, accepted: bool) -> bool:
        """Whether the hub accepts our token; as before where it does not answer."""
        try:
            async with asyncio.timeout(_PROBE):
                await self.accepts()
        except TimeoutError:
            self.throttle.lost("JupyterHub does not answer: it takes too long.")
        except Misconfigured as error:
            if accepted:
                log.error("hub_refuses_token", reason=f"{error.sentence} If it is right, JupyterHub is in trouble: see its log.")
            return False
        except DockyardError:
            pass
        else:
            if not accepted:
                log.info("hub_accepts_token")
            return True
        return accepted

    async def routes(self) -> dict[str, str]:
        """The proxy's routes to servers, path to target, as the hub sees them."""
        reply = await self._expect("GET", "proxy", 200)
        return {path: route["target"] for path, route in json.loads(reply.body).items()}

    async def mend_routes(self) -> None:
        """Let the hub compare the proxy's routes with its servers, and mend what differs."""
        await self._expect("POST", "proxy", 200, 202, 204)

    async def create_user(self, name: str) -> bool:
        """Make a user; False if there was one of this name."""
        reply = await self._expect("POST", _user(name), 201, 409)
        return reply.status == 201

    async def start_server(self, name: str, options: UserOptions) -> Started:
        """Ask for the user's server. A server that already starts or runs is left as it is."""
        reply = await self._connection.call("POST", f"{_user(name)}/server", options.body())
        if reply.status == 201:
            return Started.READY
        if reply.status == 202:
            return Started.PENDING
        if reply.status in (400, 409, 500):
            user = await self.user(name)
            if user and user.server:
                if user.server.ready:
                    return Started.READY
                return Started.PENDING if user.server.pending == "spawn" else Started.BUSY
            if (failed := await self.why(name)) is not None:
                raise failed
            if reply.status == 500:  # The hub answers everything else: it is this server that it cannot start.
                raise LaunchFailed(f"JupyterHub could not start the server: {_words(reply)}.", retryable=True)
        raise _refusal(reply)

    async def progress(self, name: str) -> AsyncGenerator[Progress, None]:
        """What the hub says while the user's server starts, on one stream: see `follow` for one that outlives cuts.

        Ends after a step that is ready or failed, and without one where the server does not start (any more).
        """
        async with aclosing(self._connection.events(f"{_user(name)}/server/progress")) as events:
            async for data in events:
                if isinstance(data, Reply):
                    if data.status in (400, 404):
                        return
                    raise _refusal(data)
                step = progress_of(data)
                if step.ready or step.failed:
                    # The hub ends the stream now; a connection read to its end can be used again.
                    with contextlib.suppress(Unreachable, TimeoutError):
                        async with asyncio.timeout(0.5):
                            await anext(events, None)
                yield step

    async def why(self, name: str) -> LaunchFailed | Overloaded | None:
        """The error of a start that has failed; None if the hub knows of none. It tells it as the last of the progress."""
        async with aclosing(self.progress(name)) as steps:
            async for step in steps:
                if step.failed:
                    return failure_of(step)
        return None

    async def user(self, name: str) -> User | None:
        """The user with the state of the server; None if there is none of this name."""
        reply = await self._expect("GET", _user(name), 200, 404)
        return user_of(json.loads(reply.body)) if reply.status == 200 else None

    async def users(self, *, active: bool = False) -> AsyncGenerator[User, None]:
        """All users, or those with an active server; see `pages`."""
        async with aclosing(self.pages(active=active)) as pages:
            async for page in pages:
                for user in page:
                    yield user

    async def pages(self, *, active: bool = False) -> AsyncGenerator[list[User], None]:
        """All users, or those with an active server, page by page. A page that took long is followed by a pause as long.

        Users that come and go in between can shift a page, so before an absence has consequences, read the `user`.
        """
        query, offset = "&state=active" if active else "", 0
        while True:
            asked = time.monotonic()
            reply = await self._expect("GET", f"users?sort=id&limit=200&offset={offset}{query}", 200, accept=_PAGES)
            took = time.monotonic() - asked
            page: dict[str, Any] = json.loads(reply.body)
            yield [user_of(model) for model in page["items"]]
            following = page["_pagination"]["next"]
            if not following:
                return
            offset = following["offset"]
            await asyncio.sleep(took if took > _SLOW_PAGE else 0)

    async def stop_server(self, name: str) -> None:
        """Stop the user's server, or its starting, and return when it is gone. Bound it with a timeout."""
        reply = await self._expect("DELETE", f"{_user(name)}/server", 202, 204, 400, 404)
        pause = 0.05
        while reply.status in (202, 400):
            user = await self.user(name)
            if user is None or user.server is None:
                return
            await asyncio.sleep(pause)
            pause = min(1.0, 1.5 * pause)

    async def delete_user(self, name: str) -> None:
        """Forget a user whose server is gone (with a server in between, the hub fails; see `remove`)."""
        await self._expect("DELETE", _user(name), 204, 404)

    async def remove(self, name: str, seconds: float = 60.0) -> None:
        """Stop the user's server, wait until it is gone, delete the user. `Unreachable` if that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop_server(name)
                await self.delete_user(name)
        except TimeoutError as error:
            raise Unreachable(f"JupyterHub did not stop the server within {seconds:.0f} seconds.") from error

    async def _expect(self, method: str, path: str, *statuses: int, accept: str = "application/json") -> Reply:
        reply = await self._connection.call(method, path, accept=accept)
        if reply.status not in statuses:
            raise _refusal(reply)
        return reply


def failure_of(step: Progress) -> LaunchFailed | Overloaded:
    """The error that a failed step stands for."""
    sentence = step.message or "The server could not be started."
    if step.verdict and step.verdict.code == ImageVanished.code:
        return ImageVanished(sentence)
    if step.verdict and step.verdict.code == Overloaded.code:
        return Overloaded(sentence, _NO_ROOM)
    return LaunchFailed(sentence, retryable=step.verdict is None or step.verdict.retryable)


def _user(name: str) -> str:
    return f"users/{quote(name, safe='')}"


def _words(reply: Reply) -> str:
    try:
        return str(json.loads(reply.body)["message"]).rstrip(". ")
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status}"


def _refusal(reply: Reply) -> DockyardError:
    """The error that an answer stands for."""
    words = _words(reply)
    if reply.status == 429:
        seconds = _RETRY_AFTER if reply.retry_after is None else reply.retry_after
        return Overloaded(f"JupyterHub starts as many servers as it can: {words}.", seconds)
    if reply.status in (401, 403):
        return Unreachable(f"JupyterHub does not accept Dockyard's token at the moment ({words}).")
    if reply.status >= 500:
        return Unreachable(f"JupyterHub failed: {words}.")
    return LaunchFailed(f"JupyterHub refused: {words}.")
