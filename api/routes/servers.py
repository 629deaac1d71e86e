"""`/api/v1/servers` and `/api/v1/stats`: what runs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from api import shapes
from api.admin import may_open, need_reader
from api.bodies import PLAIN, Page, Problem, Server, Stats
from api.held import checked_id
from api.listing import Cursor, Limit, listing
from api.services import services_of
from services.errors import NotFound, Refused
from services.models import Server as ServerRow
from services.usecases import read
from services.usecases.change import end_launch

router = APIRouter(prefix="/api/v1", tags=["servers"])


@router.get("/servers", summary="List servers", dependencies=[Depends(need_reader)])
async def servers(
    request: Request,
    state: Annotated[str, Query(max_length=20, pattern=PLAIN, description="starting, running, stopping or stopped.")] = "running",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Server]:
    """User servers, newest first; needs the admin token, or, for one part with ids that are good for nothing else, the read token."""
    return await listing(request, ServerRow.__table__, shapes.server, limit, cursor, order="started_at", state=state)


@router.delete("/servers/{server_id}", status_code=202, summary="Stop a server", responses={
    403: {"model": Problem, "description": "Neither the admin token nor the server's own."},
    404: {"model": Problem, "description": "There is no such server."},
})
async def stop(request: Request, server_id: str) -> Server:
    """Stops it; needs the admin token, or as bearer the token that opens this server."""
    services = services_of(request)
    checked_id(server_id, "server")
    if not may_open(request, services.secret.server_token(server_id)):
        raise Refused("This needs the admin token, or the token of this server.")
    row = await read.server(services.teller.db, server_id)
    if row["launch"] is None:
        raise NotFound("This server belongs to no launch yet.")
    await end_launch(services.teller, row["launch"], grace=services.settings.builds.grace)
    return shapes.server(await read.server(services.teller.db, server_id))


@router.get("/stats", tags=["service"], summary="How much there is of everything")
async def stats(request: Request) -> Stats:
    """Numbers by state, of what has not ended, and how long the oldest launch has waited."""
    services = services_of(request)
    found = await services.census.stats(services.teller.db)
    ended = {"stopped", "done", "failed", "cancelled", "built"}
    kept = {
        kind: {state: n for state, n in found[kind].items() if state not in ended}
        for kind in ("launches", "builds", "servers")
    }
    return Stats(**kept, oldest_waiting=found["oldest_wait"] or None, version=request.app.version)
