"""What a build container is told: its whole task, as environment variables of the pod."""

import json
from collections.abc import Mapping

from services.runtimes.base import BuildJob


class Telling:
    """Makes the environment of a build container."""

    def environment(self, job: BuildJob) -> Mapping[str, str]:
        """The variables for this attempt."""
        return {"DOCKYARD_BUILD": json.dumps({"image": job.image, "repo_url": job.repo_url, "commit": job.commit, "ref": job.ref})}
