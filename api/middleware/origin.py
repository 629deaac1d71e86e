"""The Origin check and CORS: which web pages may start or read a launch.

A browser sends a stranger's page's requests from the visitor's own machine, so on loopback no address tells
friend from foe. What tells is `Sec-Fetch-Site` (every current browser, on loopback and https) and `Origin`:
same-origin and typed addresses may do everything, another origin what `front.origins` says, and programs
that send neither header are no web page. User servers, which run strangers' JavaScript, are same-*site*
with us and still another origin.

Open to every page are only badges, `/versions`, `/health` and the list of providers, and navigation:
whoever follows a link to a page sees it in a tab of its own, where nothing starts by itself (`api.pages`);
a link to `/build/…` leads to the launch page. BinderHub's clients want a 200 with an event stream whatever
happens, so a page that may not use `/build` is told so in one event, which it may read; nothing else may it
read.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware.host import split_host

_OPEN = frozenset({
    "/versions", "/health", "/api/repoproviders", "/badge.svg", "/badge_logo.svg", "/assets/images/badge.svg",
    "/logo_social.png",
})
_GUARDED = ("/build/", "/api/", "/ops/")
_READS = frozenset({"GET", "HEAD"})
_METHODS = "GET, HEAD, POST, DELETE, OPTIONS"
_ALLOW = {
    "access-control-allow-methods": _METHODS,
    "access-control-allow-headers": (
        "accept, authorization, cache-control, content-type, idempotency-key, last-event-id, x-xsrftoken"
    ),
    "access-control-max-age": "600",
}
_EXPOSE = (
    (b"access-control-allow-headers", b"cache-control"),  # as BinderHub says it on every answer
    (
        b"access-control-expose-headers",
        b"location, retry-after, x-ratelimit-remaining, x-ratelimit-reset, x-ratelimit-limit",
    ),
)
_SENTENCE = (
    "Pages of another site may not launch here. "
    "The administrator of this server can allow {origin} with front.origins.\n"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request's headers say of the page that sent it."""

    site: str  # Sec-Fetch-Site: same-origin, same-site, cross-site, none, or ""
    origin: str  # Origin, or ""
    navigates: bool  # a tab is being opened, not a request of a script

    @property
    def stranger(self) -> str:
        """How to name the page's origin to its reader."""
        return self.origin if self.origin not in ("", "null") else "its origin"


def asked(headers: Headers) -> Asked:
    """Read the three headers."""
    site = headers.get("sec-fetch-site", "").lower()
    navigates = headers.get("sec-fetch-mode", "").lower() == "navigate"
    return Asked(site, headers.get("origin", ""), navigates)


def is_own(request: Asked, host: str, scheme: str) -> bool:
    """Whether one of our own pages sent it, or no page at all (a typed address, a program)."""
    if request.site:
        return request.site in ("same-origin", "none")
    if not request.origin:
        return True
    origin = urlsplit(request.origin)
    # A proxy that ends TLS may not have told us the scheme: names and ports are what has to agree.
    return origin.scheme in ("http", "https") and split_host(origin.netloc, origin.scheme) in (
        split_host(host, scheme), split_host(host, origin.scheme),
    )


class OriginCheck:
    """Refuses other origins, answers preflights, and adds the CORS headers of those that are allowed."""

    def __init__(self, app: ASGIApp, origins: Sequence[str] = (), base_url: str = "/") -> None:
        self.app = app
        self.base = base_url.rstrip("/")
        self.all = "*" in origins
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its page may send it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        headers = Headers(scope=scope)
        request = asked(headers)
        if path in _OPEN:
            await self._with(b"*", scope, receive, send)
        elif request.origin and (self.all or request.origin.lower() in self.origins):
            origin = b"*" if self.all else request.origin.encode("latin-1")
            if method == "OPTIONS":
                await _preflight(origin.decode("latin-1"), headers)(scope, receive, send)
            else:
                await self._with(origin, scope, receive, send)
        elif is_own(request, headers.get("host", ""), scope["scheme"]) or self.all:
            if method == "OPTIONS":
                await Response(status_code=204)(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        else:
            await self._foreign(request, scope, receive, send)

    async def _foreign(self, request: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        path, reads = scope["path"], scope["method"] in _READS
        if path.startswith("/build/") and reads and request.navigates:
            # `..` and a second slash cannot lead elsewhere: the address begins with our own /v2/.
            query = scope["query_string"].decode("latin-1")
            target = f"{self.base}/v2/{path[7:]}" + (f"?{query}" if query else "")
            await RedirectResponse(target, 303)(scope, receive, send)
        elif reads and (request.navigates or not path.startswith(_GUARDED)):
            await self.app(scope, receive, send)
        elif path.startswith("/build/") and scope["method"] != "OPTIONS":
            await _refused_stream(request)(scope, receive, send)
        else:
            await PlainTextResponse(_SENTENCE.format(origin=request.stranger), 403)(scope, receive, send)

    async def _with(self, origin: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with CORS headers on its answer."""
        if scope["method"] == "OPTIONS":
            await _preflight(origin.decode("latin-1"), Headers(scope=scope))(scope, receive, send)
            return
        extra = [(b"access-control-allow-origin", origin), *_EXPOSE]
        if origin != b"*":
            extra.append((b"vary", b"Origin"))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        await self.app(scope, receive, answer)


def _preflight(origin: str, headers: Headers) -> Response:
    answer = {"access-control-allow-origin": origin, **_ALLOW}
    if origin != "*":
        answer["vary"] = "Origin"
    if headers.get("access-control-request-private-network") == "true":
        answer["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=answer)


def _refused_stream(request: Asked) -> Response:
    """One `failed` event; the long retry keeps an EventSource that does not close from asking again."""
    event = {"phase": "failed", "status_code": 403, "message": _SENTENCE.format(origin=request.stranger)}
    return Response(
        f"retry: 86400000\ndata: {json.dumps(event)}\n\n", media_type="text/event-stream",
        headers={"cache-control": "no-cache", "access-control-allow-origin": "*"},
    )
