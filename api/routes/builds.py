"""`/api/v1/builds`: builds and their logs, which stay readable after the build, also after a failed one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.types import Message, Send

from api import shapes
from api.admin import need_admin, need_reader
from api.binder import follow_build
from api.bodies import PLAIN, Build, Page, Problem
from api.held import checked_id
from api.listing import Cursor, Limit, listing
from api.services import ApiServices, services_of
from api.streams import watcher
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
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Build]:
    """All builds, newest first; needs the admin token, or, for one part with ids that are good for nothing else, the read token."""
    return await listing(request, BuildRow.__table__, shapes.build, limit, cursor, state=state, image=image)


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
    return Patient(_text(services, build_id), media_type="text/plain; charset=utf-8", headers=headers)


class Patient(StreamingResponse):
    """Drops a reader that takes nothing for a while, as the streams do; it would keep a part of the log in memory."""

    async def stream_response(self, send: Send) -> None:
        """Send each part under a time limit."""
        async def patiently(message: Message) -> None:
            async with asyncio.timeout(watcher.PATIENCE):
                await send(message)

        with contextlib.suppress(TimeoutError):
            await super().stream_response(patiently)


def _text_of(body: str) -> bytes:
    """The text of stored lines: one JSON object a line in, the messages as they came out."""
    return "".join(str(json.loads(line).get("message", "")) for line in body.split("\n") if line).encode()


async def _text(services: ApiServices, build_id: str) -> AsyncIterator[bytes]:
    line = 0
    while chunks := await read.log_text(services.teller.db, build_id, line):
        for _, last, body in chunks:
            yield _text_of(body)
            line = last


@router.get("/{build_id}/events", summary="Follow a build", response_class=Response, responses={
    200: {"content": {"text/event-stream": {}}, "description": "One JSON object an event."},
    204: {"description": "Everything has been told already."},
})
async def events(
    request: Request, build_id: str,
    last_event_id: Annotated[str, Header(max_length=100, description="Where to go on.")] = "",
) -> Response:
    """Its log from the first line, live, and its end, as server-sent events. `id` is `<build>.<0, or 1 for the end>.<line>`."""
    return await follow_build(request, build_id)


@router.delete("/{build_id}", status_code=202, summary="Cancel a build", dependencies=[Depends(need_admin)])
async def cancel(request: Request, build_id: str) -> Build:
    """Cancels it for everybody who waits for it; needs the admin token."""
    services = services_of(request)
    await end_build(services.teller, checked_id(build_id, "build"))
    return shapes.build(await read.build(services.teller.db, build_id), datetime.now(UTC))
