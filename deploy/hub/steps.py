"""What a spawner says of a start, for each who asks for its progress: the launcher, and a page of the hub."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any


class Steps:
    """The steps of one start, told from the beginning."""

    def __init__(self) -> None:
        self._told: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def clear(self) -> None:
        """A new start begins."""
        self._told.clear()

    def tell(self, percent: int, message: str) -> None:
        """The next step."""
        self._told.append({"progress": percent, "message": message})
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """All steps, and those that come; the hub ends it with the start."""
        shown = 0
        while True:
            news = self._news
            while shown < len(self._told):
                yield self._told[shown]
                shown += 1
            await news.wait()
