"""Configuration for a BinderHub to be measured beside us, in the same run and against the same mock hub.

    HUB=http://127.0.0.1:8081/hub/api/ python -m binderhub -f bench/peer_config.py --port 8585
    python -m bench launches --peer http://127.0.0.1:8585

It is as fast as BinderHub can be: every image is found without asking a registry, nothing is limited or
counted, no Kubernetes is asked for quotas, and it is not in debug mode. What remains is its own path from the
request to `ready`.
"""

import os
from functools import partialmethod
from urllib.parse import urlsplit

from binderhub.build import FakeBuild  # type: ignore[import-not-found]
from binderhub.quota import LaunchQuota  # type: ignore[import-not-found]
from binderhub.registry import FakeRegistry  # type: ignore[import-not-found]
from tornado.httpserver import HTTPServer

hub = os.environ["HUB"]
c = get_config()  # type: ignore[name-defined]  # noqa: F821 - traitlets gives it to configuration files


# BinderHub knows only a port and listens on every address; a bench stays on loopback.
HTTPServer.listen = partialmethod(HTTPServer.listen, address="127.0.0.1")  # type: ignore


class FoundRegistry(FakeRegistry):  # type: ignore[misc]
    """Has every image, and answers at once."""

    async def get_image_manifest(self, image: str, tag: str) -> dict[str, int]:
        """The manifest of any image."""
        return {"schemaVersion": 2}


c.BinderHub.use_registry = True
c.BinderHub.registry_class = FoundRegistry
c.BinderHub.builder_required = False
c.BinderHub.build_class = FakeBuild
c.BinderHub.launch_quota_class = LaunchQuota
c.BinderHub.hub_api_token = os.environ.get("HUB_TOKEN", "bench")
c.BinderHub.hub_url_local = urlsplit(hub)._replace(path=urlsplit(hub).path.removesuffix("hub/api/")).geturl()
c.BinderHub.hub_url = c.BinderHub.hub_url_local
c.RateLimiter.limit = 0
