"""Configuration for a BinderHub to be measured beside us, in the same run and against the same mock hub.

    HUB=http://127.0.0.1:8081/hub/api/ python -m binderhub -f bench/peer_config.py --port 8585
    python -m bench launches --peer http://127.0.0.1:8585

It is as fast as BinderHub can be: images are found without asking a registry, nothing is limited or counted,
no Kubernetes is asked for quotas, and it is not in debug mode. What remains is its own path from the request
to `ready`. Images of repositories below /watch/ are never found: their build says lines as our runtime `fake`
does, for `bench watchers`.
"""

import json
import os
import time
from functools import partialmethod
from urllib.parse import urlsplit

from binderhub.build import BuildExecutor, ProgressEvent  # type: ignore[import-not-found]
from binderhub.quota import LaunchQuota  # type: ignore[import-not-found]
from binderhub.registry import FakeRegistry  # type: ignore[import-not-found]
from tornado.httpserver import HTTPServer

hub = os.environ["HUB"]
c = get_config()  # type: ignore[name-defined]  # noqa: F821 - traitlets gives it to configuration files


# BinderHub knows only a port and listens on every address; a bench stays on loopback.
HTTPServer.listen = partialmethod(HTTPServer.listen, address="127.0.0.1")  # type: ignore


class FoundRegistry(FakeRegistry):  # type: ignore[misc]
    """Has every image but those that are to be watched, and answers at once."""

    async def get_image_manifest(self, image: str, tag: str) -> dict[str, int] | None:
        """The manifest of an image, None if there is none."""
        return None if "2fwatch-2f" in image else {"schemaVersion": 2}


class SpokenBuild(BuildExecutor):  # type: ignore[misc]
    """Says the lines that the repository's name asks for: lines-N+slow-SECONDS."""

    def submit(self) -> None:
        """It runs at once."""
        self.progress(ProgressEvent.Kind.BUILD_STATUS_CHANGE, ProgressEvent.BuildStatus.RUNNING)

    def stream_logs(self) -> None:
        """Say the lines; like that of Kubernetes it holds a thread until the build has ended."""
        words = dict(word.split("-", 1) for word in self.repo_url.rsplit("/", 1)[-1].split("+"))
        lines, seconds = int(words["lines"]), float(words["slow"])
        for n in range(1, lines + 1):
            time.sleep(seconds / lines)
            said = {"phase": "building", "message": f"line {n} of {lines}\n"}
            self.progress(ProgressEvent.Kind.LOG_MESSAGE, json.dumps(said))
        self.progress(ProgressEvent.Kind.BUILD_STATUS_CHANGE, ProgressEvent.BuildStatus.BUILT)


c.BinderHub.use_registry = True
c.BinderHub.image_prefix = "registry.invalid/bench-"
c.BinderHub.registry_class = FoundRegistry
c.BinderHub.builder_required = False
c.BinderHub.build_class = SpokenBuild
c.BinderHub.launch_quota_class = LaunchQuota
c.BinderHub.hub_api_token = os.environ.get("HUB_TOKEN", "bench")
c.BinderHub.hub_url_local = urlsplit(hub)._replace(path=urlsplit(hub).path.removesuffix("hub/api/")).geturl()
c.BinderHub.hub_url = c.BinderHub.hub_url_local
c.RateLimiter.limit = 0
