"""A whole Dockyard on the runtime `local`, as `./dockyard up` starts it, and what a user does with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

from tests import kernels
from tests.cli.test_up import Up
from tests.gitserver import GitServer
from tests.stack import Stream

NOTEBOOK = json.dumps({
    "cells": [{"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": ["1 + 1"]}],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4, "nbformat_minor": 5,
})


class Place:
    """The running installation and the git server beside it."""

    def __init__(self, up: Up, git: GitServer, repositories: Path) -> None:
        self.up, self.git, self.repositories = up, git, repositories
        self.base = f"http://127.0.0.1:{up.port}"
        self.client = httpx.AsyncClient(base_url=self.base, timeout=120)

    def path(self, name: str, ref: str = "HEAD") -> str:
        """The spec of a repository of ours."""
        return f"git/{quote(self.git.url(name), safe='')}/{ref}"

    @asynccontextmanager
    async def stream(self, path: str, last: str = "") -> AsyncIterator[Stream]:
        headers = {"accept": "text/event-stream", **({"last-event-id": last} if last else {})}
        async with self.client.stream("GET", f"/build/{path}", headers=headers) as response:
            yield Stream(response)

    async def launch(self, path: str, seconds: float = 200) -> list[dict[str, Any]]:
        """Everything that a launch says until it is over."""
        events: list[dict[str, Any]] = []
        async with asyncio.timeout(seconds), self.stream(path) as stream:
            async for event in stream:
                events.append(event)
                if event["phase"] in ("ready", "failed"):
                    return events
        raise AssertionError(events)

    async def stop(self, events: list[dict[str, Any]]) -> None:
        """Stop the launch that these events told of."""
        answer = await self.client.delete(f"/api/v1/launches/{events[-1]['id'].split('.')[0]}")
        assert answer.status_code < 300, answer.text

    async def api(self, ready: dict[str, Any], path: str) -> Any:
        """An answer of the server of a `ready` event."""
        answer = await self.client.get(f"{ready['url']}{path}", params={"token": ready["token"]})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def part(self, name: str) -> psutil.Process:
        """The process of one of our parts."""
        return self.up.part(name)


async def compute(ready: dict[str, Any], code: str) -> str:
    """What a kernel of the server of a `ready` event prints or answers for some code."""
    return await kernels.compute(ready["url"], ready["token"], code)
