"""Puts the app together: its services, its routes, and what stands in front of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from api import binder, problems
from api.build_tokens import BuildTokens
from api.middleware import around
from api.openapi import describe
from api.routes import routers
from api.services import ApiServices
from api.streams import Fanout
from services import VERSION
from services.lifecycle import Process, garbage
from services.policy import Policy
from services.policy.bounds import bounds
from services.providers import make_providers
from services.secrets import Secret
from services.settings import Settings
from services.usecases.create import Creator

TITLE = "Dockyard"


def make_app(settings: Settings) -> ASGIApp:
    """The whole front door for these settings. Raises `Misconfigured`."""
    secret = Secret(settings.home.secret.get_secret_value())
    tokens = BuildTokens(settings.front, secret)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        process = Process(settings, "api")
        providers = make_providers(settings.providers, settings.egress)
        fanout = Fanout(process.db, process.redis, secret.server_token, settings.front.hold)
        policy = Policy(process.db, process.redis, settings.providers, settings.limits)
        app.state.services = ApiServices(
            settings=settings, providers=providers, teller=process.teller, redis=process.redis,
            creator=Creator(process.db, process.bell, bounds(settings.limits, settings.front)), policy=policy, fanout=fanout, secret=secret,
            tokens=tokens,
        )
        fanout.start()
        policy.start()
        garbage.settle()
        try:
            yield
        finally:
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
