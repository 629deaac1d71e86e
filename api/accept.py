"""From a request to a launch: what `/build`, the REST api and the pages share."""

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
from services.errors import BadRequest, Paused, TokenNeeded, UnknownProvider
from services.names import image_name, new_id
from services.providers.base import Resolved, Spec
from services.providers.layout import WHOLE, Layout, identity, source
from services.usecases.create import Created, NewLaunch

_KEY = 16  # characters of an anonymous caller's idempotency key


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client wants, beside the spec."""

    build_only: bool = False
    rebuild: bool = False
    options: Mapping[str, Any] | None = None
    idempotency_key: str = ""
    counted: bool = True  # against the rates of its client
    layout: Layout = WHOLE


def parse(services: ApiServices, provider: str, raw: str) -> Spec:
    """Read a spec; raises `UnknownProvider`, `BadSpec`, `ForbiddenAddress` or, for a banned one, `Refused`."""
    found = services.providers.get(provider)
    if found is None:
        raise UnknownProvider(f"No provider found for prefix {provider}")
    spec = found.parse(raw)
    services.policy.check_spec(spec)
    return spec


def shows_token(request: Request, services: ApiServices, token: str, provider: str, raw: str) -> bool:
    """Whether a page's request brings a build token of its link. One that has run out is as good as none: the page was open for long."""
    return bool(token) and services.tokens.valid(token, f"{provider}/{raw}", origin_of(request.headers))


def client_of(request: Request) -> str:
    """The client's network address, as the middleware found it."""
    return request.client.host if request.client else "unknown"


def asker_of(request: Request) -> str:
    """Which page has asked, as BinderHub's launch event tells it: Origin, or what the browser says of its site where there is none."""
    return request.headers.get("origin") or request.headers.get("sec-fetch-site", "")


async def accept(request: Request, services: ApiServices, spec: Spec, asked: Asked) -> tuple[Created, Feed]:
    """Make the launch; its feed listens from before it exists.

    Raises `TokenNeeded`, `Paused`, `Refused`, `BannedNetwork`, and what `Creator.create` does.
    """
    admin = is_admin(request)
    if services.settings.front.build_token_required and asked.counted and not admin:
        raise TokenNeeded("Launches are started from the launch page here. Open it anew, and start from there.")
    policy = services.policy
    await policy.ready()
    resolved, kept = _pinned(services, spec, asked.layout)
    client = client_of(request)
    repository, quota = policy.quota(spec, services.creator.bounds.servers_per_repository)
    new = NewLaunch(
        id=new_id(), spec=spec, caller=_caller(client, asked.idempotency_key, admin), client=client,
        origin=asker_of(request), repository=repository, quota=quota, trusted=admin,
        launch_host=public_url(request, services.settings.front), options=asked.options or {}, build_only=asked.build_only,
        rebuild=asked.rebuild, idempotency_key=asked.idempotency_key, counted=asked.counted, layout=asked.layout,
        resolved=resolved, environment_source=kept, image=image_name(
            services.settings.builds.image_prefix, resolved.slug, resolved.ref, subdir=asked.layout.subdir, environment=identity(kept),
        ) if resolved else "",
    )
    policy.check_client(client)
    policy.check_spec(spec, *([asked.layout.environment] if asked.layout.environment else []))
    try:
        if not admin:
            policy.check_pause()
    except Paused:
        if (repeated := await services.creator.repeated(new)) is None:
            raise
        return repeated, services.fanout.begin(repeated.id)
    feed = services.fanout.begin(new.id)
    try:
        created = await services.creator.create(new)
    except BaseException:
        services.fanout.forget(feed)
        raise
    if created.repeated:
        services.fanout.forget(feed)
        return created, services.fanout.begin(created.id)
    for event in created.events:
        feed.offer(event)
    return created, feed


def _caller(client: str, key: str, admin: bool) -> str:
    """Who asks, as far as it scopes idempotency keys. Raises `BadRequest` for a key that another could guess.

    People behind one address are many; what one of them has asked for is told to nobody who does not know the key, so it has to be
    a secret where nothing else says who asks.
    """
    if admin:
        return "admin"
    if key and (len(key) < _KEY or len(set(key)) < _KEY // 2):
        raise BadRequest(f"An Idempotency-Key without the admin token needs {_KEY} characters or more that nobody guesses, such as a UUID.")
    return f"address:{client}"


def _pinned(services: ApiServices, spec: Spec, layout: Layout) -> tuple[Resolved | None, dict[str, str] | None]:
    """What a launch means where no request is needed to know it: the commit, and that of the environment's repository."""
    resolved = services.providers[spec.provider].pinned(spec)
    if resolved is None or layout.environment is None:
        return resolved, None
    apart = services.providers[layout.environment.provider].pinned(layout.environment)
    return (resolved, source(layout.environment.provider, apart)) if apart else (None, None)


START = Position()
