"""What a build container is told: its whole task in one variable, as `steps.pod` of the build image reads it.

Secrets are not part of it, since whoever may look at pods can read their variables; they come from Secrets. The image is
pushed to where the registry answers inside of the cluster (`registry.url`), which may be another name than the one that
nodes pull it by (the host in `builds.image_prefix`).
"""

import base64
import json
import zlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from services.egress.logins import Logins
from services.registry import Reference
from services.runtimes.base import BuildJob
from services.settings import Settings

VARIABLE = "DOCKYARD_JOB"
COMMAND = ("python", "-m", "steps.pod")
FETCH = (*COMMAND, "fetch")
LOGINS = "DOCKYARD_LOGINS"
PACKED = "zlib:"
_LONG = 64 << 10  # Linux takes variables of up to 128 KiB


class Telling:
    """Makes the environment of a build container from what is the same for all builds."""

    def __init__(self, settings: Settings) -> None:
        self._registry = settings.registry
        self._recipe = settings.docker  # how repo2docker builds; the same words for both runtimes with containers
        self._contained = settings.kubernetes.builder == "contained"
        self._builds = settings.builds
        self._logins = Logins(settings.providers)

    def environment(self, job: BuildJob) -> Mapping[str, str]:
        """The variables for this attempt."""
        recipe, apart = self._recipe, job.environment
        told = {
            "repo_url": job.repo_url, "commit": job.commit, "branch": job.ref, "subdir": job.subdir,
            "environment": {
                "repo_url": apart.repo_url, "commit": apart.commit, "branch": apart.ref, "files": [file.told() for file in apart.files],
            } if apart else None,
            "files": [file.told() for file in job.files], "image": job.image,
            "mode": "contained" if self._contained else "engine", "push": True, "no_cache": job.no_cache, "uv": recipe.uv,
            "jupyter": list(recipe.jupyter),
            "base_image": recipe.base_image, "default_buildpack": recipe.default_buildpack, "appendix": recipe.appendix,
            "arguments": list(recipe.repo2docker_args), "deadline": self._builds.timeout, "patience": self._builds.patience,
            "destination": self._destination(job.image), "plain": self._registry.url.startswith("http://"),
        }
        if recipe.layers:
            told |= {"environment_image": self.environments, "environments": self._destination(f"{self.environments}:x").rpartition(":")[0],
                     "environment_days": self._builds.environment_days}
        text = json.dumps(told, separators=(",", ":"))
        if len(text) > _LONG:
            text = PACKED + base64.b64encode(zlib.compress(text.encode())).decode()
        return {VARIABLE: text}

    @property
    def environments(self) -> str:
        """The repository of environments, without a tag, as nodes would pull them."""
        return f"{self._builds.image_prefix}environments"

    def logins(self, job: BuildJob) -> str:
        """What the container that fetches is given for private repositories; "" for none."""
        return self._logins.for_sources(job.sources)

    def _destination(self, image: str) -> str:
        found = Reference.parse(image)
        return f"{urlsplit(self._registry.url).netloc or found.host}/{found.repository}:{found.tag}"
