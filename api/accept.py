"""From a request to a launch: what `/build`, the REST api and the pages share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from api.addresses import public_url
from api.services import ApiServices
from api.streams import Position
from api.streams.feed import Feed
from services.errors import Refused, UnknownProvider
from services.names import image_name, new_id
from services.providers.base import Spec
from services.usecases.create import Created, NewLaunch


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client wants, beside the spec."""

    build_only: bool = False
    rebuild: bool = False
    options: Mapping[str, Any] | None = None
    idempotency_key: str = ""
    counted: bool = True  # against the limit per client


def parse(services: ApiServices, provider: str, raw: str) -> Spec:
    """Read a spec; raises `UnknownProvider`, `BadSpec`, `ForbiddenAddress` or, for a banned one, `Refused`."""
    found = services.providers.get(provider)
    if found is None:
        raise UnknownProvider(f"No provider found for prefix {provider}")
    for pattern in services.settings.providers.banned:
        if re.match(pattern, f"{provider}/{raw}", re.IGNORECASE):
            raise Refused(f"Sorry, {raw} is not allowed to launch. Please contact admins for more info!")
    return found.parse(raw)


def client_of(request: Request) -> str:
    """The client's network address, as the middleware found it."""
    return request.client.host if request.client else "unknown"


async def accept(request: Request, services: ApiServices, spec: Spec, asked: Asked) -> tuple[Created, Feed]:
    """Make the launch; its feed listens from before it exists."""
    provider = services.providers[spec.provider]
    resolved = provider.pinned(spec)
    client = client_of(request)
    new = NewLaunch(
        id=new_id(), spec=spec, caller=f"address:{client}", client=client, origin=request.headers.get("origin", ""),
        launch_host=public_url(request, services.settings.front), options=asked.options or {}, build_only=asked.build_only,
        rebuild=asked.rebuild, idempotency_key=asked.idempotency_key, counted=asked.counted, resolved=resolved,
        image=image_name(services.settings.builds.image_prefix, resolved.slug, resolved.ref) if resolved else "",
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


START = Position()
