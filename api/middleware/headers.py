"""Security headers on every answer.

The default policy allows nothing, which is right for JSON, text and refusals. Pages bring their own
Content-Security-Policy (with the nonce of their one inline script), images that others embed their own
resource policy; what a response already says is left alone. This is the outermost wrapper of `send` and the
only one that every stream passes, so it looks at nothing but the first message.
"""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FIXED = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_CSP = b"content-security-policy"
_CORP = b"cross-origin-resource-policy"


def framing(origins: Sequence[str]) -> str:
    """The CSP directive that says who may frame our pages: the origins that may launch, and nobody else."""
    return "frame-ancestors " + (" ".join(origins) if origins else "'none'")


def page_policy(nonce: str, origins: Sequence[str]) -> str:
    """The Content-Security-Policy of a page: our own files, one inline script, no other host."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self'; form-action 'self'; base-uri 'none'; {framing(origins)}"
    )


class SecurityHeaders:
    """Adds what the answer does not say itself."""

    def __init__(self, app: ASGIApp, origins: Sequence[str] = ()) -> None:
        self.app = app
        self.policy = f"default-src 'none'; {framing(origins)}".encode("latin-1")
        self.fixed = _FIXED if origins else (*_FIXED, (b"x-frame-options", b"DENY"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                if _CSP not in names:
                    headers.append((_CSP, self.policy))
                if _CORP not in names and b"access-control-allow-origin" not in names:
                    headers.append((_CORP, b"same-origin"))
                message["headers"] = [*headers, *self.fixed]
            await send(message)

        await self.app(scope, receive, complete)
