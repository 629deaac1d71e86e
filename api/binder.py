"""BinderHub's `/build/<provider>/<spec>`: one GET makes a launch and streams it; and the stream of a launch that exists.

Every outcome is a 200 with an event stream, since the clients can read nothing else. A reconnecting
EventSource names its position and is taken back to its own launch, on any replica; so a dropped connection
never makes a second one.

This is the hot path, so it stands in front of the framework's routing: `Door` takes these paths itself, and a
launch costs a third less of the api's time than as an ordinary route. A watcher of `/api/v1/launches/<id>/events` costs
less than half of the memory.
"""

import math
import re
import time

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.accept import START, Asked, accept, client_of, parse
from api.build_tokens import origin_of
from api.held import checked_id
from api.layouts import layout_of
from api.paths import raw_spec
from api.phases import refusal
from api.services import ApiServices, services_of
from api.streams import EventStream, Position
from api.streams.position import read
from api.streams.response import OneEvent
from services.errors import BadRequest, DockyardError, NotFound, Overloaded, Paused
from services.policy.bounds import Rate
from services.policy.networks import network_of
from services.usecases.read import build as read_build
from services.usecases.read import stream_end

log = structlog.get_logger()
MISSING_ACCEPT = "Missing Accept header: text/event-stream"
# BinderHub names a status only where it refuses before the stream is under way; what a spec is wrong about
# has none there.
_WITHOUT_STATUS = {"bad_spec", "unknown_provider", "forbidden_address", "refused"}


def _accepts(accept_header: str, strict: bool) -> bool:
    """Whether the client reads event streams. Without the strict rule only page loads are refused."""
    kinds = [part.split(";")[0].strip().lower() for part in accept_header.split(",")]
    if "text/event-stream" in kinds:
        return True
    return not strict and "text/html" not in kinds


_EVENTS = re.compile(r"/api/v1/(launches|builds)/([^/]+)/events")


class Door:
    """Answers `/build/<provider>/<spec>` and the streams of launches and builds; `app` answers everything else and keeps the services."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Whatever goes wrong is told in the only form that a client of `/build` reads."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"].startswith("/build/") and raw_spec(scope, "/build/")[0]:
            await self._build(scope, receive, send)
        elif scope["method"] == "GET" and (found := _EVENTS.fullmatch(scope["path"])):
            await self._events(found[1], found[2], scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _events(self, what: str, id_: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Errors are left to the app, whose route says the same: they are few and need no haste."""
        request = Request({**scope, "app": self.app}, receive)
        until = request.query_params.get("until", "ready")
        try:
            if what == "builds":
                response = await follow_build(request, id_)
            elif until in ("ready", "stopped"):
                response = await follow(request, id_, whole=until == "stopped")
            else:
                raise BadRequest("`until` is ready or stopped.")
        except DockyardError:
            await self.app(scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _build(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request({**scope, "app": self.app}, receive)
        try:
            response = await build(request)
        except DockyardError as error:
            response = _refused(error)
        except Exception:  # the edge
            log.exception("build_request_failed")
            response = OneEvent(refusal(500, "Internal Server Error"))
        await response(scope, receive, send)


async def build(request: Request) -> Response:
    """Make a launch and stream it, or go on with the one that `Last-Event-ID` names."""
    services = services_of(request)
    if request.method not in ("GET", "HEAD"):
        return OneEvent(refusal(405, "Method Not Allowed"))
    front = services.settings.front
    accept_header = request.headers.get("accept", "*/*")
    if not _accepts(accept_header, front.strict_accept):
        if "text/html" in accept_header and not front.strict_accept and not front.api_only:
            path = request.scope["path"].removeprefix("/build/")
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{front.base_url}v2/{path}{query}", status_code=302)
        return OneEvent(refusal(400, MISSING_ACCEPT))
    last = read(request.headers.get("last-event-id", ""))
    if last is not None:
        return await _going_on(request, *last)
    provider, raw = raw_spec(request.scope, "/build/")
    if request.method == "HEAD":
        return Response(media_type="text/event-stream")
    build_only = request.query_params.get("build_only", "").lower() == "true"
    token = request.query_params.get("build_token", "")
    if token and not services.tokens.valid(token, request.scope["path"].removeprefix("/build/"), origin_of(request.headers)):
        return OneEvent(refusal(403, "Invalid build token"))
    network = check_room(services, client_of(request))
    spec = parse(services, provider, raw)
    asked = Asked(build_only=build_only, counted=not token, layout=layout_of(services, request.query_params))
    created, feed = await accept(request, services, spec, asked)
    return EventStream(services.fanout, feed, START, network, _rate(created.rate))


def check_room(services: ApiServices, client: str) -> str:
    """The network in which a client's stream counts, "" where it counts in none. Raises `Overloaded` where this process has as many
    streams as it may have, in all or of that network."""
    fanout, bounds = services.fanout, services.creator.bounds
    if fanout.watchers >= services.settings.limits.streams:
        raise Overloaded("This server has too many open streams. Try again in half a minute.", 30, "streams")
    if not bounds.streams_per_network:
        return ""
    network = network_of(client, bounds.ipv4_network, bounds.ipv6_network)
    if fanout.networks[network] >= bounds.streams_per_network:
        raise Overloaded(
            f"Your network has {bounds.streams_per_network} open streams here, which is as many as it may have. Close some of its pages.",
            30, "streams_per_network")
    return network


def _rate(rate: Rate | None) -> dict[str, str]:
    """BinderHub's headers, where the launch counted against a rate."""
    if rate is None:
        return {}
    return {
        "x-ratelimit-remaining": str(rate.remaining), "x-ratelimit-reset": str(math.ceil(time.time() + rate.reset)),
        "x-ratelimit-limit": str(rate.limit),
    }


def _refused(error: DockyardError) -> Response:
    if error.code in _WITHOUT_STATUS:
        return OneEvent(refusal(None, error.sentence))
    if not isinstance(error, Overloaded | Paused):
        return OneEvent(refusal(error.status, error.sentence))
    more = {"limit": error.limit} if isinstance(error, Overloaded) and error.limit else {}
    body = refusal(error.status, error.sentence, retry_after=error.retry_after, **more)
    return OneEvent(body, {"retry-after": str(error.retry_after)})


def _start(request: Request, id_: str) -> Position:
    last = read(request.headers.get("last-event-id", ""))
    return last[1] if last is not None and last[0] == id_ else START


async def follow(request: Request, launch: str, *, whole: bool = False) -> Response:
    """The stream of a launch from its begin, or from where a reader of it has been; 204 if there is nothing more to tell.

    It ends when the server is ready, or, if `whole`, when the server has ended. Raises `NotFound` and `Overloaded`.
    """
    return await _going_on(request, launch, _start(request, launch), whole=whole)


async def _going_on(request: Request, launch: str, start: Position, *, whole: bool = False) -> Response:
    """The stream of a launch from a position; the 204 at its end tells a native EventSource to stay away."""
    services = services_of(request)
    if not services.fanout.goes_on(launch, whole=whole):
        end = await stream_end(services.teller.db, checked_id(launch, "launch"), whole=whole)
        if end is None:
            raise NotFound("There is no such launch. It may have expired; start a new one.")
        if end and start.event >= end:
            return Response(status_code=204)
    network = check_room(services, client_of(request))
    return EventStream(services.fanout, services.fanout.begin(launch, whole=whole), start, network)


async def follow_build(request: Request, build: str) -> Response:
    """The stream of a build by itself, as `follow`: its log, then its end."""
    services, start = services_of(request), _start(request, build)
    if not services.fanout.goes_on(build):
        row = await read_build(services.teller.db, checked_id(build, "build"))
        if row["ended_at"] is not None and start.event > 0:
            return Response(status_code=204)
    network = check_room(services, client_of(request))
    return EventStream(services.fanout, services.fanout.begin_build(build), start, network)
