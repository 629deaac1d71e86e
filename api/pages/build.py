"""The page of a build: its log for good, with an address for every line."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import shapes
from api.held import checked_id
from api.lines import Matter
from api.pages.launch import human
from api.pages.render import page
from api.pages.story import duration
from api.services import services_of
from api.static_files import address
from services.states import BUILD_ENDED
from services.usecases import read

router = APIRouter(include_in_schema=False)

_WORDS = {"built": "Built", "failed": "Failed", "cancelled": "Cancelled", "queued": "Waiting"}
_ICONS = {"built": "icon_ready.svg", "failed": "icon_failed.svg", "cancelled": "icon.svg"}


@router.get("/builds/{build_id}")
async def build(request: Request, build_id: str) -> Response:
    """The page."""
    services = services_of(request)
    body = shapes.build(await read.build(services.teller.db, checked_id(build_id, "build")), datetime.now(UTC))
    base = services.settings.front.base_url
    name = human(body.repo_url)
    took = duration((body.ended_at - body.started_at).total_seconds()) if body.ended_at and body.started_at else ""
    lines = await services.matters.of(services.teller.db, build_id) if body.state == "failed" else Matter()
    return page(
        request, "build.html", body=body, matter=lines, name=name, took=took, title=f"{_WORDS.get(body.state, 'Building')} · {name}",
        icon=_ICONS.get(body.state, "icon_building.svg"),
        config={"build": {
            "id": body.id, "ended": body.state in BUILD_ENDED,
            "log": address(base, "log.js"), "logStyle": address(base, "log.css"),
        }},
    )
