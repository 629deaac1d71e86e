"""The home page, and what it is about.

The form works by itself: without a script the server reads the link and sends the browser on, or says what is wrong with it.
"""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from api.pages.render import page
from api.pages.story import duration
from api.reading import link_of_text
from api.services import services_of
from services.errors import DockyardError

router = APIRouter(include_in_schema=False)


def providers(request: Request) -> list[dict[str, Any]]:
    """What `/api/repoproviders` answers."""
    services = services_of(request)
    return [services.providers[name].display for name in services.settings.providers.enabled if name in services.providers]


@router.get("/")
async def home(request: Request, link: str = "", share: str = "") -> Response:
    """The page; with a link, on to its launch page, or back with what it means or what is wrong with it."""
    found, wrong = None, ""
    if link.strip():
        try:
            found = link_of_text(request, link.strip())
        except DockyardError as error:
            wrong = error.sentence
        if found is not None and not share:
            return RedirectResponse(found.launch, 303)
    known = providers(request)
    return page(
        request, "home.html", status=400 if wrong else 200, config={"repoProviders": known}, providers=known, link=link,
        found=found, wrong=wrong,
    )


@router.get("/about")
async def about(request: Request) -> Response:
    """What this is, and for how long what runs here stays."""
    settings = services_of(request).settings
    return page(
        request, "about.html", config={"aboutMessage": settings.front.about, "binderVersion": request.app.version},
        version=request.app.version, idle=_rounded(settings.reaper.idle), max_age=_rounded(settings.reaper.max_age),
    )


def _rounded(seconds: float) -> str:
    """10 min, 6 h; empty for never."""
    return duration(seconds).replace(" 00 s", "").replace(" 00 min", "") if seconds else ""
