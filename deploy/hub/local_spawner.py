"""The spawner of the runtime `local`: a launch's server in a sandbox of this machine, found again by a restarted hub.

Everything about the server itself stands in `services.runtimes.local.servers`; here is what the hub asks of a spawner,
the launch's words, and patience: only so many servers start at a time, because ten that start together on two cores are
each ten times as slow and no one is ready sooner than the last.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from jupyterhub.spawner import Spawner
from traitlets import Integer

import services.settings
from deploy.hub.binder import binder_environment, option
from deploy.hub.failure import BROKEN, FULL, UNLUCKY, VANISHED, StartFailed
from deploy.hub.steps import Steps
from deploy.hub.unix_socket import OnUnixSocket, socket_url
from services.errors import BadRequest, DockyardError, ImageVanished
from services.runtimes.local.detached import Ended, Running
from services.runtimes.local.servers import Order, Servers
from services.settings import Settings

T = TypeVar("T")
POLL = 0.02  # seconds between two looks whether a server answers


@cache
def settings() -> Settings:
    """The settings of this hub."""
    return services.settings.load()


@cache
def all_servers() -> Servers:
    """The servers of this hub."""
    found = settings()
    return Servers(found.home, found.local, found.builds, proxy_uid=_proxy_uid())


@cache
def turns_of(number: int) -> asyncio.Semaphore:
    """The turns that all spawners of this hub share."""
    return asyncio.Semaphore(number)


def warm_up() -> None:
    """Find once what all sandboxes need; the first launch would wait for it otherwise. Blocking, about a second."""
    all_servers().surroundings  # noqa: B018  # found when asked


def _proxy_uid() -> int | None:
    """The account that the proxy runs as: the owner of the socket on which it listens for us."""
    with contextlib.suppress(OSError):
        return os.stat(unquote(os.environ["DOCKYARD_PROXY_API"].partition("://")[2])).st_uid
    return None


class LocalSpawner(OnUnixSocket, Spawner):  # type: ignore[misc]  # JupyterHub has no types
    """Starts the server of `user_options["image"]`."""

    patience = Integer(120, config=True, help="Seconds from the start of the process until it has to answer.")
    at_once = Integer((os.cpu_count() or 1) + 1, config=True, help="Servers that start at the same time; others wait.")
    image = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._steps = Steps()
        self._work: asyncio.Future[Any] | None = None

    def _order(self) -> Order:
        options = self.user_options
        environment = options.get("environment") or {}
        if not isinstance(environment, dict):
            raise BadRequest("The environment of a server is a table of texts.")
        given = {str(name): option(environment, name) for name in environment}
        ours = {"JUPYTERHUB_SERVICE_PREFIX": self.server.base_url, "JUPYTERHUB_USER": self.user.name}
        return Order(
            self.user.name, option(options, "image"), self.server.base_url, option(options, "token"),
            {**given, **binder_environment(options), **ours}, tuple(settings().front.origins),
        )

    async def _blocking(self, call: Callable[..., T], *args: Any) -> T:
        """Run something in a thread; a cancelled start leaves it running, and `poll` waits for it before it looks."""
        self._work = asyncio.ensure_future(asyncio.to_thread(call, *args))
        return await asyncio.shield(self._work)

    async def start(self) -> str:
        """Start the server and return its address once it answers. Raises `StartFailed`."""
        self._steps.clear()
        try:
            order = self._order()
            self.image = order.image
            turns = turns_of(self.at_once)
            self._steps.tell(10, "Waiting for other servers to start first." if turns.locked() else "Starting your server.")
            async with turns:
                url = socket_url(all_servers().socket(order.name))
                self.keep(url)
                self._steps.tell(30, "Putting the files of the repository in their place.")
                await self._blocking(all_servers().start, order)
                self._steps.tell(60, "Starting Jupyter.")
                await self._answering()
                return url
        except ImageVanished as error:
            raise StartFailed(error.sentence, VANISHED) from error
        except BadRequest as error:
            raise StartFailed(error.sentence, BROKEN) from error
        except DockyardError as error:
            raise StartFailed(error.sentence, FULL if getattr(error, "full", False) else UNLUCKY) from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StartFailed(f"The server's files could not be made ({error.strerror}).", FULL if full else UNLUCKY) from error

    async def _answering(self) -> None:
        """Wait until the server answers, then let the proxy in. Raises `StartFailed`."""
        servers, loop = all_servers(), asyncio.get_running_loop()
        name, deadline = self.user.name, loop.time() + self.patience
        while loop.time() < deadline:
            if servers.publish(name) and await _answers(servers.socket(name), f"{self.server.base_url}api"):
                servers.hand_over(name)
                return
            found = servers.status(name)
            if not isinstance(found, Running):
                sentence, again = servers.why(name)
                full = isinstance(found, Ended) and found.reason == "full"
                raise StartFailed(sentence, FULL if full else UNLUCKY if again else BROKEN)
            await asyncio.sleep(POLL)
        last = servers.last_words(name)
        sentence = f"The server did not answer within {self.patience} seconds."
        raise StartFailed(sentence + (f" Its last words:\n{last}" if last else ""), UNLUCKY)

    async def get_url(self) -> str:
        """Asked by a restarted hub for a server that runs; it may have been killed before that server was ready."""
        with contextlib.suppress(StartFailed):  # the hub finds out by itself that the server does not answer
            await self._answering()
        return str(self.server.url)

    def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What `start` does, from the beginning, for each who asks."""
        return self._steps.follow()

    async def poll(self) -> int | None:
        """None while the server runs, else its exit status."""
        if self._work is not None:
            await asyncio.wait([self._work])
        found = all_servers().status(self.user.name)
        if isinstance(found, Running):
            return None
        return found.code or 0 if isinstance(found, Ended) else 0

    async def stop(self, now: bool = False) -> None:
        """End the server."""
        await asyncio.to_thread(all_servers().stop, self.user.name)

    async def run_post_stop_hook(self) -> None:
        """After any end of a server, ours or its own: remove what it leaves."""
        await asyncio.to_thread(all_servers().remove, self.user.name)

    def get_state(self) -> dict[str, Any]:
        """Which image was started. The process itself is found by the user's name."""
        return dict(super().get_state()) | ({"image": self.image} if self.image else {})

    def load_state(self, state: dict[str, Any]) -> None:
        """Recall `get_state`."""
        super().load_state(state)
        self.image = state.get("image", "")

    def clear_state(self) -> None:
        """Forget the image."""
        super().clear_state()
        self.image = ""


async def _answers(socket: Path, path: str) -> bool:
    """Whether an HTTP server on this socket answers with anything below 500."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline())[9:10] in (b"2", b"3", b"4")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
