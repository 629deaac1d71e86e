"""The ops page: whether it is healthy, what waits, what fails, what runs; and the means to end it.

A first, plain one: rendered here, fetched anew every few seconds by its script, filtered by typing. Signing
in exchanges the admin token for a cookie; `up` prints an address with the token after `#`, which browsers
keep to themselves.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from api import shapes
from api.admin import is_admin, is_token, need_admin, sign_in, sign_out
from api.held import checked_id
from api.pages.render import page, part
from api.pages.story import duration
from api.services import ApiServices, services_of
from services.models import Build as BuildRow
from services.models import Launch as LaunchRow
from services.models import Server as ServerRow
from services.states import LAUNCH_OPEN, StopReason
from services.usecases import read
from services.usecases.change import end_build, end_launch
from services.usecases.trouble import failures

router = APIRouter(include_in_schema=False)

_MOST = 100  # rows of a table


@router.get("/ops")
async def ops(request: Request) -> Response:
    """The page, or the form that asks for the token."""
    if not is_admin(request):
        return page(request, "ops_login.html", wrong="")
    return page(request, "ops.html", **await _found(request))


@router.post("/ops/login")
async def login(request: Request, token: Annotated[str, Form(max_length=400)] = "") -> Response:
    """Take the token and give a cookie."""
    if not is_token(request, token.strip()):
        return page(request, "ops_login.html", status=403, wrong="This is not the admin token.")
    response = RedirectResponse(f"{services_of(request).settings.front.base_url}ops", 303)
    sign_in(request, response)
    return response


@router.post("/ops/logout")
async def logout(request: Request) -> Response:
    """Take the cookie back."""
    response = RedirectResponse(services_of(request).settings.front.base_url, 303)
    sign_out(request, response)
    return response


@router.get("/ops/part", dependencies=[Depends(need_admin)])
async def fresh(request: Request) -> Response:
    """What changes on the page, for its script."""
    return part(request, "ops_part.html", **await _found(request))


@router.post("/ops/launches/{launch_id}/end", dependencies=[Depends(need_admin)])
async def end(request: Request, launch_id: str) -> Response:
    """Cancel a launch or stop its server."""
    services = services_of(request)
    await end_launch(
        services.teller, checked_id(launch_id, "launch"), grace=services.settings.builds.grace, reason=StopReason.USER)
    return RedirectResponse(f"{services.settings.front.base_url}ops", 303)


@router.post("/ops/builds/{build_id}/end", dependencies=[Depends(need_admin)])
async def stop_build(request: Request, build_id: str) -> Response:
    """Cancel a build for everybody who waits for it."""
    services = services_of(request)
    await end_build(services.teller, checked_id(build_id, "build"))
    return RedirectResponse(f"{services.settings.front.base_url}ops", 303)


async def _found(request: Request) -> dict[str, Any]:
    """Everything that the page shows."""
    services = services_of(request)
    db = services.teller.db
    stats = await services.census.stats(db)
    launches, builds, servers = (stats[kind] for kind in ("launches", "builds", "servers"))
    return {
        "health": await request.app.state.health.answer(),
        "numbers": {
            "waiting": sum(launches.get(state, 0) for state in ("waiting", "resolving")),
            "building": launches.get("building", 0), "launching": launches.get("launching", 0),
            "running": servers.get("running", 0),
        },
        "oldest": duration(stats["oldest_wait"]) if stats["oldest_wait"] else "",
        "builds_open": sum(builds.get(state, 0) for state in ("queued", "fetching", "building", "pushing")),
        "failures": await failures(db), "launches": await _launches(services), "builds": await _builds(services),
        "servers": await read.page(db, ServerRow.__table__, where={"state": "running"}, before=None, most=_MOST, order="started_at"),
        "ago": ago, "exact": lambda at: at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


async def _launches(services: ApiServices) -> list[Mapping[str, Any]]:
    rows = await read.page(services.teller.db, LaunchRow.__table__, where={}, before=None, most=_MOST)
    return [
        {"body": shapes.launch(row), "client": row["client"], "open": row["state"] in LAUNCH_OPEN or row["state"] == "ready"}
        for row in rows
    ]


async def _builds(services: ApiServices) -> list[Mapping[str, Any]]:
    rows = await read.page(services.teller.db, BuildRow.__table__, where={}, before=None, most=_MOST // 4)
    return [{"body": shapes.build(row), "open": row["ended_at"] is None} for row in rows]


def ago(at: datetime | None) -> str:
    """How long ago, shortly: 12 s, 3 min, 5 h, 2 d."""
    if at is None:
        return ""
    seconds = max(0.0, (datetime.now(UTC) - at).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
