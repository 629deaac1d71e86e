"""A bound on what a request may send: nothing here needs more than a few kilobytes."""

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LIMIT = 256 << 10  # bytes; a launch with its options is below 10 kB


class BodyBound:
    """Refuses (413) longer bodies: at once when the length is announced, otherwise at the limit."""

    def __init__(self, app: ASGIApp, limit: int = LIMIT) -> None:
        self.app = app
        self.limit = limit
        self.sentence = f"The request is too long; {limit} bytes are allowed."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a bounded `receive`; requests without a body keep theirs."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        length = headers.get(b"content-length", b"0")
        if not headers or (length == b"0" and b"transfer-encoding" not in headers):
            await self.app(scope, receive, send)
        elif not length.isdigit() or int(length) > self.limit:
            await PlainTextResponse(self.sentence + "\n", 413)(scope, receive, send)
        else:
            await self.app(scope, self._bounded(receive), send)

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise HTTPException(413, self.sentence)
            return message

        return bounded
