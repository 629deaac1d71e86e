"""The launch page.

`/v2/…` is what links lead to. Whoever has come by a link of another site is asked for one click, since a page
elsewhere must not start anything on the visitor's machine; from here, or by an address that was typed, the launch starts
at once. Then the page is `/launches/<id>`: the same after a refresh, on a second device, and after the server has gone.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote, urlencode

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from api.accept import Asked, accept, parse, shows_token
from api.addresses import opens, server_address, what_opens
from api.bodies import Launch
from api.build_tokens import origin_of
from api.held import checked_id, held
from api.layouts import layout_of
from api.lines import Matter
from api.pages.render import page, part
from api.pages.story import Story, tell
from api.paths import raw_spec
from api.services import ApiServices, services_of
from api.static_files import address
from services.errors import NotFound
from services.providers.base import Spec
from services.providers.layout import query
from services.settings import Settings
from services.usecases.change import end_launch

router = APIRouter(include_in_schema=False)


def _starts(request: Request, autostart: bool) -> bool:
    """Whether the launch may start without a click: not if a page of another origin has led here.

    Nor where the browser does not say where the visitor comes from (an old one, or http on a name that is not loopback).
    """
    return autostart or request.headers.get("sec-fetch-site", "") in ("none", "same-origin")


def again(base: str, provider: str, spec: str, urlpath: str, layout: Mapping[str, str], **more: str) -> str:
    """Where a launch like this one is asked for."""
    query = urlencode({**layout, **({"urlpath": urlpath} if urlpath else {}), **more})
    return f"{base}v2/{provider}/{spec}" + (f"?{query}" if query else "")


def _frame(
    request: Request, provider: str, spec: Spec | Launch, raw: str, urlpath: str, layout: Mapping[str, str],
) -> dict[str, Any]:
    """What stands around the status: names, and where to start once more."""
    services = services_of(request)
    display = services.providers[provider].display if provider in services.providers else {"displayName": provider}
    base = services.settings.front.base_url
    return {
        "name": human(spec.repo or raw), "ref": "" if spec.ref in ("", "HEAD") else spec.ref, "urlpath": urlpath,
        "provider_name": display["displayName"], "social": f"{display['displayName']}: {raw}", "opens": what_opens(urlpath),
        "again": again(base, provider, raw, urlpath, layout),
        "again_rebuild": again(base, provider, raw, urlpath, layout, rebuild="1"),
        "build_token": services.tokens.issue(f"{provider}/{raw}", origin_of(request.headers)),
        "subdir": layout.get("subdir", ""), "environment": unquote(layout.get("environment", "")),
    }


def human(repo: str) -> str:
    """A repository's name without what nobody says: the protocol, and `.git`."""
    return repo.removeprefix("https://").removeprefix("http://").removesuffix(".git")


def _script(services: ApiServices, **more: Any) -> dict[str, Any]:
    base = services.settings.front.base_url
    return {"launch": {"log": address(base, "log.js"), "logStyle": address(base, "log.css"), **more}}


@router.get("/v2/{provider}/{spec:path}")
async def asked(request: Request) -> Response:
    """The page before there is a launch; its script makes one, or a click does."""
    services = services_of(request)
    provider, raw = raw_spec(request.scope, "/v2/")
    if not provider:
        raise NotFound("This address names no repository.")
    spec = parse(services, provider, raw)
    urlpath, layout = opens(request.query_params), _asked(services, request)
    starts = _starts(request, services.settings.front.autostart)
    asking = "Starting." if starts else "This link starts a server with the code of this repository."
    return page(
        request, "launch.html", story=None, build=None, asking=asking, origin="", icon="icon.svg",
        config={
            "buildToken": services.tokens.issue(request.scope["path"].removeprefix("/v2/"), origin_of(request.headers)),
            **_script(services, id="", provider=provider, spec=raw, urlpath=urlpath, start=starts, **layout),
        },
        **_frame(request, provider, spec, raw, urlpath, layout),
    )


@router.post("/v2/{provider}/{spec:path}")
async def start(request: Request, build_token: Annotated[str, Form(max_length=4000)] = "") -> Response:
    """Make a launch and show it: the page's button, for browsers without script."""
    services = services_of(request)
    provider, raw = raw_spec(request.scope, "/v2/")
    urlpath = opens(request.query_params)
    spec = parse(services, provider, raw)
    wanted = Asked(
        options={"urlpath": urlpath} if urlpath else {}, rebuild=request.query_params.get("rebuild") == "1",
        layout=layout_of(services, request.query_params), counted=not shows_token(request, services, build_token, provider, raw),
    )
    created, feed = await accept(request, services, spec, wanted)
    services.fanout.forget(feed)
    return RedirectResponse(f"{services.settings.front.base_url}launches/{created.id}", 303)


def _asked(services: ApiServices, request: Request) -> dict[str, str]:
    """What an address says about the layout, checked and as it is written from here on."""
    layout = layout_of(services, request.query_params)
    return query(layout.subdir, layout.environment_link)


async def _status(request: Request, launch: Launch) -> tuple[Story, dict[str, Any]]:
    """What the status part is rendered from."""
    services = services_of(request)
    story = tell(launch, pushes=_pushes(services.settings))
    frame = _frame(request, launch.provider, launch, launch.spec, launch.urlpath, query(launch.subdir, launch.environment))
    to_server = server_address(launch.url, launch.urlpath, launch.token or "") if launch.url else ""
    lines = await services.matters.of(services.teller.db, launch.build) if launch.state == "failed" and launch.build else Matter()
    return story, {"story": story, "build": launch.build, "id": launch.id, "open_address": to_server,
                   "origin": _origin(launch), "matter": lines, **frame}


@router.get("/launches/{launch_id}")
async def launched(request: Request, launch_id: str) -> Response:
    """The page of a launch that exists, or existed."""
    services = services_of(request)
    launch = await held(services, launch_id)
    story, context = await _status(request, launch)
    return page(
        request, "launch.html", icon=story.icon, config=_script(
            services, id=launch.id, provider=launch.provider, spec=launch.spec, urlpath=launch.urlpath, start=False,
            **query(launch.subdir, launch.environment),
        ), **context,
    )


def _pushes(settings: Settings) -> bool:
    """Whether an image is stored elsewhere than where it is built, and so waited for."""
    return settings.runtime.name == "kubernetes" or (settings.runtime.name == "docker" and bool(settings.registry.url))


def _origin(launch: Launch) -> str:
    """Where a person can look at the repository; only web addresses become links."""
    return next((url for url in (launch.ref_url, launch.repo_url) if url and url.startswith(("https://", "http://"))), "")


@router.get("/launches/{launch_id}/status")
async def status(request: Request, launch_id: str) -> Response:
    """The part of the page that changes, for its script."""
    services = services_of(request)
    _, context = await _status(request, await held(services, launch_id))
    return part(request, "status.html", **context)


@router.post("/launches/{launch_id}/end")
async def end(request: Request, launch_id: str) -> Response:
    """Cancel or stop, for browsers without script."""
    services = services_of(request)
    await end_launch(services.teller, checked_id(launch_id, "launch"), grace=services.settings.builds.grace)
    return RedirectResponse(f"{services.settings.front.base_url}launches/{launch_id}", 303)
