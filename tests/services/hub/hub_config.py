"""The hub's own configuration, with a proxy that keeps its routes in the hub's memory: these tests need no Node."""

from pathlib import Path
from typing import Any

from jupyterhub.proxy import Proxy

load_subconfig(str(Path(__file__).parents[3] / "deploy" / "hub" / "jupyterhub_config.py"))  # type: ignore[name-defined]  # noqa: F821
c = get_config()  # type: ignore[name-defined]  # noqa: F821


class RememberingProxy(Proxy):  # type: ignore[misc]
    should_start = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.routes: dict[str, Any] = {}

    async def get_all_routes(self) -> dict[str, Any]:
        return dict(self.routes)

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)


c.JupyterHub.proxy_class = RememberingProxy
c.JupyterHub.concurrent_spawn_limit = 10
c.Spawner.poll_interval = 1
