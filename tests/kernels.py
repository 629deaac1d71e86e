"""What a kernel of a Jupyter server says to some code, over its websocket, as JupyterLab asks it."""

import asyncio
import json
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import aiohttp


async def compute(url: str, token: str, code: str) -> str:
    """What a new kernel of the server prints or answers; `AssertionError` with the traceback where it fails."""
    async with aiohttp.ClientSession(headers={"Authorization": f"token {token}"}) as session:
        async with session.post(f"{url}api/kernels", json={"name": "python3"}) as answer:
            assert answer.status == 201, await answer.text()
            kernel = (await answer.json())["id"]
        said = await _said(session, f"{url}api/kernels/{kernel}/channels", code)
        async with session.delete(f"{url}api/kernels/{kernel}") as answer:
            assert answer.status == 204
    return said


async def _said(session: aiohttp.ClientSession, url: str, code: str) -> str:
    parts = urlsplit(url)
    async with asyncio.timeout(300), session.ws_connect(f"ws://{parts.netloc}{parts.path}") as socket:
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
