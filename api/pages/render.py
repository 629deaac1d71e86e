"""Turning templates into answers.

Every page gets the same few things: settings of the front door, addresses of static files, the
configuration for its script (the first script in <head>, in the form that BinderHub's clients read), and a
Content-Security-Policy with a nonce of its own. Templates are trusted text of ours; everything that comes
from outside is escaped by them.
"""

import json
import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api.addresses import public_url
from api.middleware.headers import page_policy
from api.static_files import address
from services.settings import FrontSettings

_TITLES = {403: "Not allowed", 404: "Nothing is here", 405: "Not that way", 429: "Too much at once", 503: "Not now"}

templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    autoescape=select_autoescape(default=True), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
)


def breakable(text: str) -> Markup:
    """A long name that a narrow page may break after its slashes, and nowhere else if it can be helped."""
    return Markup("/<wbr>").join(text.split("/"))


templates.filters["breakable"] = breakable


def script_json(value: Mapping[str, Any]) -> Markup:
    """JSON that can stand inside a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def page(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None, framed: bool = True, **context: Any,
) -> Response:
    """A page. `config` is what its script needs to know, beside what BinderHub's pages say. `framed`: `front.origins` may show
    it in a frame; a page that acts may not be, lest somebody clicks on what he does not see.
    """
    services = request.app.state.services
    front: FrontSettings = services.settings.front
    nonce = secrets.token_urlsafe(12)
    public = public_url(request, front)
    base = front.base_url
    page_config = {"baseUrl": base, "badgeBaseUrl": public, "logoUrl": address(base, "icon.svg"), **(config or {})}
    html = templates.get_template(template).render(
        front=front, nonce=nonce, public=public, base=base, static=partial(address, base),
        config=script_json(page_config), notice=services.policy.notice(), **context,
    )
    policy = page_policy(nonce, front.origins if framed else ())
    return HTMLResponse(html, status, {
        "content-security-policy": policy, "cache-control": "no-store", "vary": "Accept, Cookie", **(headers or {}),
    })


def part(request: Request, template: str, **context: Any) -> Response:
    """A part of a page, for the script that puts it in place of the one before."""
    base: str = request.app.state.services.settings.front.base_url
    html = templates.get_template(template).render(base=base, static=partial(address, base), **context)
    return HTMLResponse(html, headers={"cache-control": "no-store"})


def error_page(request: Request, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """What went wrong, for somebody who opened a page."""
    title = _TITLES.get(status, "That did not work")
    return page(request, "message.html", status=status, headers=headers, title=title, sentence=sentence)
