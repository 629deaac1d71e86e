"""Puts the app together: its services, its routes, and what stands in front of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from api import binder, problems
from api.build_tokens import BuildTokens
from api.leaving import Leaving
from api.metrics import ApiMetrics
from api.middleware import around
from api.openapi import describe
from api.routes import routers
from api.services import ApiServices
from api.streams import Fanout, watched
from api.watch import Watch
from services import VERSION
from services.lifecycle import Process, garbage
from services.policy import Policy
from services.policy.bounds import bounds
from services.providers import make_providers
from services.secrets import Secret
from services.settings import Settings
from services.tasks import end
from services.usecases.create import Creator

TITLE = "Dockyard"


def make_app(settings: Settings, leaving: Leaving | None = None) -> ASGIApp:
    """The whole front door for these settings. `leaving` tells it when its process begins to leave. Raises `Misconfigured`."""
    leaving = leaving or Leaving()
    secret = Secret(settings.home.secret.get_secret_value())
    tokens = BuildTokens(settings.front, secret)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        process = Process(settings, "api")
        providers = make_providers(settings.providers, settings.egress)
        fanout = Fanout(process.db, process.redis, secret.server_token, settings.front.hold)
        watch = Watch(process.db, process.owner)
        policy = Policy(process.db, process.redis, settings.providers, settings.limits)
        app.state.services = ApiServices(
            settings=settings, providers=providers, teller=process.teller, redis=process.redis,
            creator=Creator(process.db, process.bell, bounds(settings.limits, settings.front)), policy=policy, fanout=fanout, secret=secret,
            tokens=tokens, watch=watch, leaving=leaving, metrics=ApiMetrics(process.metrics, process.db, watch, lambda: fanout.watchers),
        )
        fanout.start()
        leaving.fanout = fanout
        policy.start()
        process.show(lambda: {"work": {"streams": [fanout.watchers, settings.limits.streams]}})
        noting = asyncio.create_task(watched.note(process.db, fanout))
        watching = asyncio.create_task(watch.run())
        garbage.settle()
        try:
            yield
        finally:
            await end(watching, noting)
            await watch.aclose()
            await policy.aclose()
            await fanout.aclose()
            for provider in providers.values():
                await provider.aclose()
            await process.aclose()

    app = FastAPI(
        title=TITLE, version=VERSION, lifespan=lifespan, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    for router in routers(settings.front):
        app.include_router(router)
    describe(app, settings.front.base_url)
    return around(binder.Door(app), settings.front)
