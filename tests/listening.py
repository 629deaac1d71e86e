"""An app that really listens: for browsers, other processes, and clients of either colour."""

import asyncio

import uvicorn
from starlette.types import ASGIApp


class Listening:
    """An app on a free port, in this event loop."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.port = 0

    async def __aenter__(self) -> "Listening":
        self.serving = asyncio.create_task(self.server._serve())
        while not self.server.started:
            await asyncio.sleep(0.02)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.should_exit = True
        await self.serving

    def at(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"
