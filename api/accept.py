"""From a request to a launch: what `/build`, the REST api and the pages share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from api.addresses import public_url
from api.admin import is_admin
from api.build_tokens import origin_of
from api.services import ApiServices
from api.streams import Position
from api.streams.feed import Feed
from services.errors import Refused, TokenNeeded, UnknownProvider
from services.names import image_name, new_id
from services.providers.base import Resolved, Spec
from services.providers.layout import WHOLE, Layout, identity, source
from services.usecases.create import Created, NewLaunch


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client wants, beside the spec."""

    build_only: bool = False
    rebuild: bool = False
    options: Mapping[str, Any] | None = None
    idempotency_key: str = ""
    counted: bool = True  # against the limit per client
    layout: Layout = WHOLE


def parse(services: ApiServices, provider: str, raw: str) -> Spec:
    """Read a spec; raises `UnknownProvider`, `BadSpec`, `ForbiddenAddress` or, for a banned one, `Refused`."""
    found = services.providers.get(provider)
    if found is None:
        raise UnknownProvider(f"No provider found for prefix {provider}")
    for pattern in services.settings.providers.banned:
        if re.match(pattern, f"{provider}/{raw}", re.IGNORECASE):
            raise Refused(f"Sorry, {raw} is not allowed to launch. Please contact admins for more info!")
    return found.parse(raw)


def shows_token(request: Request, services: ApiServices, token: str, provider: str, raw: str) -> bool:
    """Whether a page's request brings a build token of its link. One that has run out is as good as none: the page was open for long."""
    return bool(token) and services.tokens.valid(token, f"{provider}/{raw}", origin_of(request.headers))


def client_of(request: Request) -> str:
    """The client's network address, as the middleware found it."""
    return request.client.host if request.client else "unknown"


async def accept(request: Request, services: ApiServices, spec: Spec, asked: Asked) -> tuple[Created, Feed]:
    """Make the launch; its feed listens from before it exists. Raises `TokenNeeded`, and what `Creator.create` does."""
    if services.settings.front.build_token_required and asked.counted and not is_admin(request):
        raise TokenNeeded("Launches are started from the launch page here. Open it anew, and start from there.")
    resolved, kept = _pinned(services, spec, asked.layout)
    client = client_of(request)
    new = NewLaunch(
        id=new_id(), spec=spec, caller=f"address:{client}", client=client, origin=request.headers.get("origin", ""),
        launch_host=public_url(request, services.settings.front), options=asked.options or {}, build_only=asked.build_only,
        rebuild=asked.rebuild, idempotency_key=asked.idempotency_key, counted=asked.counted, layout=asked.layout,
        resolved=resolved, environment_source=kept, image=image_name(
            services.settings.builds.image_prefix, resolved.slug, resolved.ref, subdir=asked.layout.subdir, environment=identity(kept),
        ) if resolved else "",
    )
    feed = services.fanout.begin(new.id)
    services.metrics.accepted(new.id, spec.provider)
    try:
        created = await services.creator.create(new)
    except BaseException:
        services.fanout.forget(feed)
        services.metrics.refused(new.id)
        raise
    if created.repeated:
        services.fanout.forget(feed)
        services.metrics.refused(new.id)
        return created, services.fanout.begin(created.id)
    for event in created.events:
        feed.offer(event)
        services.metrics.heard(event)
    return created, feed


def _pinned(services: ApiServices, spec: Spec, layout: Layout) -> tuple[Resolved | None, dict[str, str] | None]:
    """What a launch means where no request is needed to know it: the commit, and that of the environment's repository."""
    resolved = services.providers[spec.provider].pinned(spec)
    if resolved is None or layout.environment is None:
        return resolved, None
    apart = services.providers[layout.environment.provider].pinned(layout.environment)
    return (resolved, source(layout.environment.provider, apart)) if apart else (None, None)


START = Position()
