"""gzip for pages, scripts, JSON and logs, and never for an event stream.

Starlette's middleware knows that, but wraps `send` first and looks then; streams are what this service
sends most, so they are told apart by their path and go around it.
"""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


def is_stream(path: str) -> bool:
    """Whether an event stream answers there."""
    return path.startswith("/build/") or path.endswith("/events")


class Compression:
    """gzip, around which streams go."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.gzip = GZipMiddleware(app, minimum_size=600, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, compressed if it is no stream."""
        if scope["type"] == "http" and not is_stream(scope["path"]):
            await self.gzip(scope, receive, send)
        else:
            await self.app(scope, receive, send)
