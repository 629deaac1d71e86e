"""`/api/v1/builds`: builds and their logs, which stay readable after the build, also after a failed one."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from api import shapes
from api.admin import is_reader, need_admin, need_reader
from api.binder import check_room
from api.bodies import PLAIN, Build, Page, Problem
from api.held import checked_id
from api.routes.build_events import BuildStream, text_of
from api.services import ApiServices, services_of
from api.streams.position import read as read_position
from services.models import Build as BuildRow
from services.usecases import read
from services.usecases.change import end_build

router = APIRouter(prefix="/api/v1/builds", tags=["builds"], responses={
    404: {"model": Problem, "description": "There is no such build."},
})


@router.get("", summary="List builds", dependencies=[Depends(need_reader)])
async def builds(
    request: Request,
    state: Annotated[str | None, Query(max_length=20, pattern=PLAIN)] = None,
    image: Annotated[str | None, Query(max_length=400, pattern=PLAIN)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the part before.")] = None,
) -> Page[Build]:
    """All builds, newest first; needs the admin token, or, for one part with ids that are good for nothing else, the read token."""
    services = services_of(request)
    where = {key: value for key, value in (("state", state), ("image", image)) if value}
    rows = await read.page(
        services.teller.db, BuildRow.__table__, where=where, most=limit + 1,
        before=shapes.read_cursor(cursor) if cursor else None,
    )
    items = [shapes.build(row) for row in rows[:limit]]
    if is_reader(request):
        return Page(items=shapes.unkeyed(items, services.secret))
    return Page(
        items=items,
        next=shapes.cursor(rows[limit - 1]["created_at"], rows[limit - 1]["id"]) if len(rows) > limit else None,
    )


@router.get("/{build_id}", summary="Look at a build")
async def build(request: Request, build_id: str) -> Build:
    """Where it stands. Whoever knows the id may see it."""
    return shapes.build(await read.build(services_of(request).teller.db, checked_id(build_id, "build")), datetime.now(UTC))


@router.get("/{build_id}/log", summary="The log of a build", response_class=PlainTextResponse)
async def log(request: Request, build_id: str) -> Response:
    """The log as far as it has come, as text."""
    services = services_of(request)
    await read.build(services.teller.db, checked_id(build_id, "build"))
    # A log is a stranger's text: never to be run, and kept by no cache while it grows.
    headers = {"cache-control": "no-store"}
    return StreamingResponse(_text(services, build_id), media_type="text/plain; charset=utf-8", headers=headers)


async def _text(services: ApiServices, build_id: str) -> AsyncIterator[bytes]:
    line = 0
    while chunks := await read.log_text(services.teller.db, build_id, line):
        for _, last, body in chunks:
            yield text_of(body)
            line = last


@router.get("/{build_id}/events", summary="Follow a build", response_class=Response, responses={
    200: {"content": {"text/event-stream": {}}, "description": "One JSON object an event."},
    204: {"description": "Everything has been told already."},
})
async def events(
    request: Request, build_id: str,
    last_event_id: Annotated[str, Header(max_length=100, description="Where to go on.")] = "",
) -> Response:
    """Its log from the first line, live, and its end, as server-sent events."""
    services = services_of(request)
    row = await read.build(services.teller.db, checked_id(build_id, "build"))
    last = read_position(last_event_id)
    mine = last[1] if last is not None and last[0] == build_id else None
    if row["ended_at"] is not None and mine is not None and mine.event > 0:
        return Response(status_code=204)
    check_room(services)
    return BuildStream(services.fanout, services.teller.db, build_id, mine.line if mine else 0)


@router.delete("/{build_id}", status_code=202, summary="Cancel a build", dependencies=[Depends(need_admin)])
async def cancel(request: Request, build_id: str) -> Build:
    """Cancels it for everybody who waits for it; needs the admin token."""
    services = services_of(request)
    await end_build(services.teller, checked_id(build_id, "build"))
    return shapes.build(await read.build(services.teller.db, build_id), datetime.now(UTC))
