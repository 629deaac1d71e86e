"""Is it alive, is it ready, is it healthy, and which version: for supervisors, load balancers and federations.

`/health` and `/versions` have BinderHub's shape (federation proxies poll both). A launch can be served when
the database and the hub answer, and the hub knows our token; without Redis everything still works, a second slower, so that check is
told and not counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, FastAPI, Request
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api.services import ApiServices, services_of
from services.errors import DockyardError, NotFound
from services.hub.client import Hub
from services.observe.metrics import scrape

_PATIENCE = 3.0  # seconds for one check
_KEPT = 5.0  # seconds that an answer is given again; federations ask every 10


@dataclass(frozen=True, slots=True)
class Check:
    """One dependency. `counts`: without it no launch can be served."""

    service: str
    ask: Callable[[], Awaitable[object]]
    counts: bool = True


class Health:
    """Asks the dependencies, all at once, and keeps the answer for a moment."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._hub: Hub | None = None
        self._answer: dict[str, Any] = {}
        self._at = -_KEPT
        self._lock = asyncio.Lock()

    async def aclose(self) -> None:
        """Close the connection to the hub."""
        if self._hub is not None:
            await self._hub.close()

    async def answer(self) -> dict[str, Any]:
        """BinderHub's object: `ok`, and `checks` with `service` and `ok` each.

        A bad answer is looked for anew by whoever asks later; those who wait for it meanwhile share it, or each would wait for all
        who came before.
        """
        came = time.monotonic()
        async with self._lock:
            if self._at < came and (came - self._at >= _KEPT or not self._answer["ok"]):
                self._answer, self._at = await self._look(), time.monotonic()
            return self._answer

    async def _look(self) -> dict[str, Any]:
        checks = (
            Check("JupyterHub API", self._ask_hub), Check("Database", self._ask_database),
            Check("Redis", self._ask_redis, counts=False),
        )
        found = await asyncio.gather(*(_passes(check) for check in checks))
        told = [
            {"service": check.service, "ok": ok, **({} if check.counts else {"_ignore_failure": True})}
            for check, ok in zip(checks, found, strict=True)
        ]
        return {"ok": all(ok for check, ok in zip(checks, found, strict=True) if check.counts), "checks": told}

    async def _ask_hub(self) -> object:
        self._hub = self._hub or Hub(self._services.settings.hub)
        await self._hub.accepts()
        return True

    async def _ask_database(self) -> object:
        return await self._services.teller.db.rows(sa.text("SELECT 1"))

    async def _ask_redis(self) -> object:
        return await self._services.redis.pipeline(("PING",))


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await check.ask() is not None
    except (DockyardError, TimeoutError, OSError):
        return False


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: ApiServices = app.state.services
    app.state.health = Health(services)
    try:
        yield
    finally:
        await app.state.health.aclose()


router = APIRouter(lifespan=_lifespan)


@router.head("/health", include_in_schema=False)
@router.get("/health", tags=["service"], summary="Can a launch be served?", responses={
    503: {"description": "It cannot; `checks` says why."},
})
async def health(request: Request) -> JSONResponse:
    """200 once a launch can be served, 503 while it cannot, with one entry for each dependency."""
    found = await request.app.state.health.answer()
    return JSONResponse(found, 200 if found["ok"] else 503, {"cache-control": "no-store"})


@router.api_route("/livez", methods=["GET", "HEAD"], include_in_schema=False)
async def livez() -> Response:
    """This process answers."""
    return PlainTextResponse("ok\n")


@router.api_route("/readyz", methods=["GET", "HEAD"], include_in_schema=False)
async def readyz(request: Request) -> Response:
    """Traffic may be sent here: the database answers, so a launch that is accepted is not lost, and the process is not about to end."""
    if services_of(request).leaving.begun:
        return PlainTextResponse("This process is about to end.\n", 503)
    ok = await _passes(Check("Database", lambda: services_of(request).teller.db.rows(sa.text("SELECT 1"))))
    return PlainTextResponse("ok\n" if ok else "The database does not answer.\n", 200 if ok else 503)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus. What is under way is counted in the database, so every replica says the same of it."""
    body, media_type = await services_of(request).metrics.text(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": media_type, "cache-control": "no-store"})


@router.get("/metrics/{name}", include_in_schema=False)
async def metrics_of(request: Request, name: str) -> Response:
    """What another process of this machine tells at its unix socket (`observe.metrics_address`), passed on."""
    address = services_of(request).settings.observe.metrics_address
    body = None
    if address.startswith("unix:") and name.isascii() and name.isalpha():
        body = await scrape(Path(address.removeprefix("unix:")) / f"{name}.sock")
    if body is None:
        raise NotFound("No process of this name shows its numbers here.")
    return Response(body, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4, "cache-control": "no-store"})


@router.head("/versions", include_in_schema=False)
@router.get("/versions", tags=["service"], summary="What runs here")
async def versions(request: Request) -> JSONResponse:
    """BinderHub's object; clients look for the key `binderhub`, federations compare the whole."""
    settings = services_of(request).settings
    version = request.app.version
    return JSONResponse({
        "builder_info": {"runtime": settings.runtime.name}, "binderhub": f"dockyard-{version}", "dockyard": version,
    })


@router.head("/api/repoproviders", include_in_schema=False)
@router.get("/api/repoproviders", tags=["service"], summary="Where links may lead")
async def repoproviders(request: Request) -> JSONResponse:
    """The providers in the order of the home page, in BinderHub's shape."""
    services = services_of(request)
    enabled = services.settings.providers.enabled
    return JSONResponse([services.providers[name].display for name in enabled if name in services.providers])
