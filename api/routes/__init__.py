"""All routes but `/build`, in the order in which they are asked."""

from fastapi import APIRouter

from api import static_files
from api.pages import build, gone, home, launch, ops
from api.routes import admin, builds, health, launches, legacy, links, servers
from services.settings import FrontSettings

APIS: tuple[APIRouter, ...] = (launches.router, builds.router, servers.router, links.router, admin.router, health.router)
PAGES: tuple[APIRouter, ...] = (
    launch.router, build.router, gone.router, ops.router, static_files.router, legacy.router, home.router,
)


def routers(front: FrontSettings) -> tuple[APIRouter, ...]:
    """The routers of a service with these settings: `front.api_only` leaves the pages out."""
    return APIS if front.api_only else (*APIS, *PAGES)
