"""The base path: everything is served below it, and nothing else is.

It comes off here, once, so that routes, checks and pages speak of paths from the root; whoever writes a
link puts it back on (`front.base_url`). The same place puts the raw path into `scope["path"]`, see
`api.paths`.
"""

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.paths import raw_path


class BasePath:
    """Strips the base path and routes on what was sent; 404 for what lies outside of it."""

    def __init__(self, app: ASGIApp, base_url: str = "/") -> None:
        self.app = app
        self.base = base_url.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its path below the base."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path = raw_path(scope)
        if not self.base:
            await self.app({**scope, "path": path, "root_path": ""}, receive, send)
        elif path.startswith(self.base + "/"):
            await self.app({**scope, "path": path[len(self.base):], "root_path": ""}, receive, send)
        elif path == self.base:
            await RedirectResponse(self.base + "/", status_code=302)(scope, receive, send)
        else:
            sentence = f"Nothing is here; this service is below {self.base}/.\n"
            await PlainTextResponse(sentence, 404)(scope, receive, send)
