"""A whole Dockyard on the runtime `local`, as `./dockyard up` starts it, and what a user does with it."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import httpx
import psutil

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
    """What a kernel of the server prints or answers for some code."""
    url, headers = ready["url"], {"Authorization": f"token {ready['token']}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{url}api/kernels", json={"name": "python3"}) as answer:
            kernel = (await answer.json())["id"]
        parts = urlsplit(url)
        address = f"ws://{parts.netloc}{parts.path}api/kernels/{kernel}/channels"
        async with asyncio.timeout(60), session.ws_connect(address) as socket:
            await _until_heard(socket)
            message = await _ask(socket, "execute_request", {
                "code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False})
            said = ""
            async for item in socket:
                found = json.loads(item.data)
                if found["parent_header"].get("msg_id") != message:
                    continue
                if found["msg_type"] == "execute_result":
                    said += found["content"]["data"]["text/plain"]
                elif found["msg_type"] == "stream":
                    said += found["content"]["text"]
                elif found["msg_type"] == "error":
                    raise AssertionError("\n".join(found["content"]["traceback"]))
                elif found["msg_type"] == "status" and found["content"]["execution_state"] == "idle":
                    return said
    raise AssertionError("the kernel went away")


async def _ask(socket: aiohttp.ClientWebSocketResponse, kind: str, content: dict[str, Any]) -> str:
    """Send a message on the shell channel; its id."""
    message = uuid.uuid4().hex
    await socket.send_json({
        "header": {"msg_id": message, "msg_type": kind, "username": "u", "session": "s", "version": "5.3",
                   "date": time.strftime("%Y-%m-%dT%H:%M:%SZ")},
        "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [], "content": content,
    })
    return message


async def _until_heard(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Ask a young kernel who it is until it is heard on iopub, as JupyterLab does.

    Jupyter Server does not wait for its subscription when the kernel says that it is busy, as each does while it starts:
    what a kernel publishes before that is lost, and with it the answer to a request that came too early.
    """
    asked = {await _ask(socket, "kernel_info_request", {})}
    while True:
        try:
            found = json.loads((await socket.receive(2)).data)
        except TimeoutError:
            asked.add(await _ask(socket, "kernel_info_request", {}))
            continue
        if found["parent_header"].get("msg_id") in asked and found["channel"] == "iopub":
            return
