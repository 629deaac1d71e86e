"""The page for a server that is gone: what it was, why it went, and a way to a new one.

The hub sends browsers here that come by the address of a server that does not run. The address is no secret of the
launch, so nothing of the launch is shown but its repository.
"""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import shapes
from api.build_tokens import origin_of
from api.pages.launch import again, human
from api.pages.render import page
from api.pages.story import STOPPED
from api.services import services_of
from services.errors import NotFound
from services.models import Server as ServerRow
from services.providers.layout import query
from services.usecases import read

router = APIRouter(include_in_schema=False)


@router.get("/gone/{user_name}")
async def gone(request: Request, user_name: str) -> Response:
    """The page of the server that had this name in the hub."""
    services = services_of(request)
    db = services.teller.db
    rows = await read.page(db, ServerRow.__table__, where={"user_name": user_name}, before=None, most=1, order="started_at")
    if not rows or rows[0]["launch"] is None:
        raise NotFound("There is no server at this address. It may have been stopped long ago.")
    launch = shapes.launch((await read.launch(db, rows[0]["launch"])).row)
    if launch.state == "ready":
        why = "This server does not answer at the moment."
    else:
        why = STOPPED.get(launch.reason.code if launch.reason else "", "This server was stopped.")
    base = services.settings.front.base_url
    token = services.tokens.issue(f"{launch.provider}/{launch.spec}", origin_of(request.headers))
    return page(
        request, "gone.html", name=human(launch.repo or launch.spec), why=why, build_token=token,
        again=again(base, launch.provider, launch.spec, launch.urlpath, query(launch.subdir, launch.environment)),
    )
