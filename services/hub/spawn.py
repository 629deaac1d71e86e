"""One attempt to get a server from the hub, from its name to its address.

Everything here may be begun again by another process: the name decides which server is meant, and a server that starts
or runs already is followed, not started twice. A hub that is away for some seconds (it restarts, its proxy reconnects)
is waited for; only what another attempt can mend, or nothing can, ends this one.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from services.errors import DockyardError, LaunchFailed, Overloaded, Unreachable
from services.hub.client import Hub, Started, failure_of
from services.hub.models import Progress, UserOptions

T = TypeVar("T")
_BUSY = 30.0  # seconds that a server of this name may take to stop; a hub that is not ours may never end it (see deploy/hub/app.py)


async def spawn(
    hub: Hub,
    name: str,
    options: UserOptions,
    *,
    seconds: float,
    say: Callable[[str], Awaitable[None]],
    own: Callable[[], Awaitable[None]],
) -> str:
    """Make the user `name`, start its server, tell `say` the hub's messages, and return the server's address.

    Adopts what an earlier, killed caller has begun. After a failure it calls `own`, which raises if this attempt
    belongs to somebody else by now, and then removes server and user. `Unreachable`, errors of `say` and `own`, and a
    cancellation pass through and leave everything as it is, for whoever takes over: a hub that is away has failed nothing.

    Errors: `LaunchFailed` (its `retryable` says whether another attempt can help), `ImageVanished`, `Overloaded`,
    `Unreachable`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    failure: DockyardError
    async with aclosing(_steps(hub, name, options)) as steps:
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    step = await anext(steps)
            except TimeoutError as error:
                failure = LaunchFailed(f"The server was not ready within {seconds:.0f} seconds.", retryable=True)
                failure.__cause__ = error
                break
            except (LaunchFailed, Overloaded) as error:
                failure = error
                break
            if step.ready:
                return hub.address(name, step.url)
            await say(step.message)
    await own()
    with contextlib.suppress(Unreachable, Overloaded, LaunchFailed):  # what is left, the reaper removes
        await hub.remove(name)
    raise failure


async def _steps(hub: Hub, name: str, options: UserOptions) -> AsyncGenerator[Progress, None]:
    """Everything that happens until a ready step; raises where there will be none."""
    await patiently(lambda: hub.create_user(name), hub.restart)
    losses, patience = hub.throttle.losses, asyncio.get_running_loop().time() + _BUSY
    while True:
        started = await patiently(lambda: hub.start_server(name, options), hub.restart)
        if started is Started.READY:
            yield Progress("Server ready.", 100, ready=True)
            return
        if started is Started.BUSY:
            if asyncio.get_running_loop().time() > patience:
                raise LaunchFailed("JupyterHub does not end an earlier server of this name.", retryable=True)
            await asyncio.sleep(0.2)
            continue
        async with aclosing(follow(hub, name, losses)) as steps:
            async for step in steps:
                if step.failed:
                    raise failure_of(step)
                yield step
        return


async def follow(hub: Hub, name: str, losses: int | None = None) -> AsyncGenerator[Progress, None]:
    """The progress of a starting server up to the step that is ready or failed, whatever happens to the stream.

    A cut stream is opened again, without repeating what was seen, as long as the hub says that the server starts.
    `Unreachable` if the hub stays away or has forgotten the server over a restart, `LaunchFailed` if the server is gone. `losses`
    is what the throttle had counted before the start.
    """
    seen: set[Progress] = set()
    losses, again = hub.throttle.losses if losses is None else losses, False
    while True:
        try:
            async with aclosing(hub.progress(name)) as steps:
                async for step in steps:
                    if again and step in seen:
                        continue
                    seen.add(step)
                    yield step
                    if step.ready or step.failed:
                        return
        except Unreachable:
            pass  # whether the hub is away, the next question shows
        again = True
        user = await patiently(lambda: hub.user(name), hub.restart)
        if user is None or user.server is None:
            if (failed := await patiently(lambda: hub.why(name), hub.restart)) is not None:
                raise failed
            if hub.throttle.losses != losses:
                raise Unreachable("JupyterHub was away and has forgotten the server that it was starting.")
            raise LaunchFailed("The server was gone before it was ready.", retryable=True)
        if user.server.ready:
            yield Progress("Server ready.", 100, ready=True, url=user.server.url)
            return
        await asyncio.sleep(0.2)


async def patiently(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """The result of `call`, which may be made again, asking again while the hub is away."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + seconds, 0.1
    while True:
        try:
            return await call()
        except Unreachable:
            if loop.time() + pause > deadline:
                raise
        await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - to spread, not to hide
        pause = min(2.0, 2 * pause)
