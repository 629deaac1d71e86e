"""`/api/v1/launches`: ask for a launch, look at it, follow it, end it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from api import shapes
from api.accept import Asked, accept, parse, shows_token
from api.admin import need_reader
from api.binder import follow
from api.bodies import PLAIN, Launch, NewLaunch, Page, Problem
from api.held import checked_id, held
from api.layouts import layout_of
from api.listing import Cursor, Limit, listing
from api.reading import link_of_text
from api.services import services_of
from services.errors import BadRequest
from services.models import Launch as LaunchRow
from services.settings import FrontSettings
from services.usecases.change import end_launch

router = APIRouter(prefix="/api/v1/launches", tags=["launches"], responses={
    404: {"model": Problem, "description": "There is no such launch."},
})


@router.post("", status_code=202, summary="Ask for a launch", responses={
    202: {"description": "Accepted; `Location` is its address.", "headers": {"Location": {"schema": {"type": "string"}}}},
    400: {"model": Problem, "description": "The link or spec cannot be understood."},
    429: {"model": Problem, "description": "A limit is reached; `Retry-After` says when to try again."},
})
async def create(
    request: Request, response: Response, body: NewLaunch,
    idempotency_key: Annotated[
        str, Header(max_length=200, description="The same key from the same caller gives the same launch.")
    ] = "",
) -> Launch:
    """Accepted at once and carried on in the background; follow its events, or look at it again."""
    services = services_of(request)
    urlpath, layout = body.urlpath, {"subdir": body.subdir, "environment": body.environment}
    if body.link is not None:
        found = link_of_text(request, body.link)
        spec, urlpath = parse(services, found.provider, found.spec), body.urlpath or found.urlpath
        layout = {"subdir": body.subdir or found.subdir, "environment": body.environment or found.environment}
    else:
        assert body.provider is not None
        assert body.spec is not None
        spec = parse(services, body.provider, body.spec.rstrip("/"))
    asked = Asked(
        build_only=body.build_only, rebuild=body.rebuild, options=options(services.settings.front, urlpath, body.env),
        idempotency_key=idempotency_key, counted=not shows_token(request, services, body.build_token, spec.provider, spec.raw),
        layout=layout_of(services, layout),
    )
    created, feed = await accept(request, services, spec, asked)
    services.fanout.forget(feed)
    response.headers["location"] = f"{services.settings.front.base_url}api/v1/launches/{created.id}"
    return await held(services, created.id)


def options(front: FrontSettings, urlpath: str, env: dict[str, str]) -> dict[str, object]:
    """What is kept of a request beside its spec; raises `BadRequest` for a variable that is not allowed."""
    for name in env:
        if not any(name.startswith(known[:-1]) if known.endswith("*") else name == known for known in front.env):
            allowed = f"only {', '.join(front.env)}" if front.env else "none"
            raise BadRequest(f"A launch may not set the variable {name} here; {allowed}.")
    return {**({"urlpath": urlpath.lstrip("/")} if urlpath else {}), **({"env": env} if env else {})}


@router.get("", summary="List launches", dependencies=[Depends(need_reader)])
async def launches(
    request: Request,
    state: Annotated[str | None, Query(max_length=20, pattern=PLAIN)] = None,
    provider: Annotated[str | None, Query(max_length=40, pattern=PLAIN)] = None,
    repo: Annotated[str | None, Query(max_length=400, pattern=PLAIN, description="The repository's name, exactly.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Launch]:
    """Everybody's launches, newest first; needs the admin token. Tokens of servers are not shown.

    The read token is shown one part, with ids that are good for nothing else.
    """
    return await listing(request, LaunchRow.__table__, shapes.launch, limit, cursor, state=state, provider=provider, repo=repo)


@router.get("/{launch_id}", summary="Look at a launch")
async def launch(request: Request, launch_id: str) -> Launch:
    """State, steps with their durations, place in the queue, and, while it is ready, the server's address and token.

    Whoever knows the id may see it: it is 128 random bits and told only to whoever made the launch.
    """
    return await held(services_of(request), launch_id)


@router.delete("/{launch_id}", status_code=202, summary="Cancel a launch or stop its server")
async def end(request: Request, launch_id: str) -> Launch:
    """Cancels what is under way, stops what is ready, and changes nothing about what has ended."""
    services = services_of(request)
    await end_launch(services.teller, checked_id(launch_id, "launch"), grace=services.settings.builds.grace)
    return await held(services, launch_id)


@router.get("/{launch_id}/events", summary="Follow a launch", response_class=Response, responses={
    200: {"content": {"text/event-stream": {}}, "description": "One JSON object an event."},
    204: {"description": "Everything has been told already."},
})
async def events(
    request: Request, launch_id: str,
    last_event_id: Annotated[str, Header(max_length=100, description="Where to go on.")] = "",
    until: Annotated[Literal["ready", "stopped"], Query(
        description="What ends it: a server that is ready, or (`stopped`) the end of the server, which an event `ending` tells before.")
    ] = "ready",
) -> Response:
    """Its states and its build's log from the first line, live, as server-sent events.

    The `id` of an event is `<launch>.<event>.<line>`; a reader who names the last one it has seen misses
    nothing.
    """
    return await follow(request, launch_id, whole=until == "stopped")
