"""BinderHub's `/build/<provider>/<spec>`: one GET makes a launch and streams it.

Every outcome is a 200 with an event stream, since the clients can read nothing else. A reconnecting
EventSource names its position and is taken back to its own launch, on any replica; so a dropped connection
never makes a second one.
"""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from api.accept import START, Asked, accept, parse
from api.paths import raw_spec
from api.phases import refusal
from api.services import ApiServices, services_of
from api.streams import EventStream, Position
from api.streams.position import read
from api.streams.response import OneEvent
from services.errors import DockyardError, Overloaded
from services.usecases.read import stream_end

router = APIRouter()
MISSING_ACCEPT = "Missing Accept header: text/event-stream"
# BinderHub names a status only where it refuses before the stream is under way; what a spec is wrong about
# has none there.
_WITHOUT_STATUS = {"bad_spec", "unknown_provider", "forbidden_address"}


def _accepts(accept_header: str, strict: bool) -> bool:
    """Whether the client reads event streams. Without the strict rule only page loads are refused."""
    kinds = [part.split(";")[0].strip().lower() for part in accept_header.split(",")]
    if "text/event-stream" in kinds:
        return True
    return not strict and "text/html" not in kinds


@router.api_route("/build/{provider}/{spec:path}", methods=["GET", "HEAD"], include_in_schema=False)
async def build(request: Request) -> Response:
    """Make a launch and stream it, or go on with the one that `Last-Event-ID` names."""
    services = services_of(request)
    front = services.settings.front
    accept_header = request.headers.get("accept", "*/*")
    if not _accepts(accept_header, front.strict_accept):
        if "text/html" in accept_header and not front.strict_accept and not front.api_only:
            path = request.scope["path"].removeprefix("/build/")
            return RedirectResponse(f"{front.base_url}v2/{path}", status_code=302)
        return OneEvent(refusal(400, MISSING_ACCEPT))
    last = read(request.headers.get("last-event-id", ""))
    if last is not None:
        return await resume(services, *last)
    provider, raw = raw_spec(request.scope, "/build/")
    if request.method == "HEAD":
        return Response(media_type="text/event-stream")
    build_only = request.query_params.get("build_only", "").lower() == "true"
    try:
        check_room(services)
        spec = parse(services, provider, raw)
        _, feed = await accept(request, services, spec, Asked(build_only=build_only))
    except DockyardError as error:
        return _refused(error)
    return EventStream(services.fanout, feed, START)


def check_room(services: ApiServices) -> None:
    """Raise `Overloaded` where this process has as many streams as it may have."""
    if services.fanout.watchers >= services.settings.limits.streams:
        raise Overloaded("This server has too many open streams. Try again in half a minute.", 30)


def _refused(error: DockyardError) -> Response:
    if error.code in _WITHOUT_STATUS:
        return OneEvent(refusal(error.status, error.sentence))
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, Overloaded) else {}
    return OneEvent(refusal(error.status, error.sentence), headers)


async def resume(services: ApiServices, launch: str, start: Position) -> Response:
    """Go on with a launch's stream; 204 tells a native EventSource that there is nothing more and that it should stay
    away.
    """
    end = await stream_end(services.teller.db, launch)
    if end is None:
        return OneEvent(refusal(404, "This launch is not known any more. Start a new one."))
    if end and start.event >= end:
        return Response(status_code=204)
    check_room(services)
    return EventStream(services.fanout, services.fanout.begin(launch), start)
