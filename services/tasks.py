"""Ending background tasks.

A cancellation can be swallowed on its way through a library, such as a client that takes it for a timeout of its own, and then
the task goes on as if nothing had been asked of it. So it is asked again until it ends.
"""

import asyncio
from typing import Any

_AGAIN = 0.5  # seconds between two cancellations


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until all have ended, however that was."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
