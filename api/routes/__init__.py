"""All routes but `/build`, in the order in which they are asked."""

from fastapi import APIRouter

from api import static_files
from api.pages import build, gone, home, launch, ops
from api.routes import builds, health, launches, legacy, links, servers

ROUTERS: tuple[APIRouter, ...] = (
    launches.router, builds.router, servers.router, links.router, health.router, launch.router, build.router,
    gone.router, ops.router, static_files.router, legacy.router, home.router,
)
