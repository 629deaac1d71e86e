"""repo2docker's interface to a builder, on buildah: no daemon and no socket, all of it inside of the build container.

`chroot` isolation lets a RUN step run in this container's own control group, so the container's limits bind it. Steps are
not kept one by one (`--layers=false`): an image is its base and one layer a stage. Images stay in buildah's store; `export`
takes them out.
"""

import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from repo2docker.engine import BuildError, ContainerEngine, Image
from repo2docker.utils import execute_cmd


class BuildahEngine(ContainerEngine):  # type: ignore[misc]  # repo2docker has no types
    """Engine `buildah`."""

    string_output = True

    def build(
        self, *, push: bool = False, load: bool = False, buildargs: dict[str, str] | None = None, cache_from: list[str] | None = None,
        container_limits: dict[str, str] | None = None, tag: str = "", custom_context: bool = False, dockerfile: str = "",
        fileobj: IO[bytes] | None = None, path: str = "", labels: dict[str, str] | None = None, platform: str | None = None,
        **kwargs: Any,
    ) -> Iterator[str]:
        """Build and keep an image; yields lines. Raises `BuildError` with buildah's last words."""
        # Docker's own format, since a repository's Dockerfile may use SHELL or HEALTHCHECK.
        command = ["buildah", "bud", "--isolation=chroot", "--layers=false", "--format=docker"]
        command += [f"--build-arg={name}={value}" for name, value in (buildargs or {}).items()]
        command += [f"--label={name}={value}" for name, value in (labels or {}).items()]
        command += [f"--tag={tag}"] if tag else []
        command += [f"--platform={platform}"] if platform else []
        command += [f"--file={dockerfile}"] if dockerfile else []
        if fileobj is None:
            yield from _run([*command, path])
            return
        with tempfile.TemporaryDirectory() as directory:
            with tarfile.open(fileobj=fileobj) as archive:
                archive.extractall(directory)  # noqa: S202 - repo2docker has made it of names it has checked
            yield from _run([*command, directory])

    def inspect_image(self, image: str) -> Image | None:
        """An image in buildah's store, or None."""
        done = subprocess.run(["buildah", "inspect", "--type=image", "--", image], capture_output=True, check=False)
        if done.returncode:
            return None
        config = json.loads(done.stdout).get("OCIv1", {}).get("config", {})
        return Image(tags=[image], config={"WorkingDir": "", **config})


def _run(command: list[str]) -> Iterator[str]:
    last = ""
    try:
        for line in execute_cmd(command, capture=True):
            last = line.strip() or last
            yield line
    except subprocess.CalledProcessError as error:
        raise BuildError(last or f"buildah ended with status {error.returncode}") from error
