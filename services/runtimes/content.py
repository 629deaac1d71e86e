"""An image made of an environment's image and one layer of content, over the registry's API, without a build.

The steps in the build container or pod have judged that it may be done and have written the layer; here the environment's blobs
are made known in the image's repository (nothing is moved), the layer is sent, and a configuration and a manifest are put
together. The same environment and layer give the same image.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from services.errors import DockyardError, Unreachable
from services.registry import OCI, Manifest, Reference, Registry
from services.runtimes.base import BuildJob, Exit, Presence

log = structlog.get_logger()
_PUSHING, _PAUSE = 300.0, 2.0  # seconds that the registry may be away at the end of a build, and between two attempts
_LATEST = 253402300799  # the end of the year 9999: a commit may say that it is of any other


@dataclass(frozen=True, slots=True)
class ContentLayer:
    """What the steps say of a layer they have written."""

    digest: str
    diff_id: str
    size: int
    time: int  # seconds since 1970


class EnvironmentGone(DockyardError):
    """The environment's image is not in the registry any more; it has to be made again."""

    retryable = True


async def presence(registry: Registry, image: str) -> Presence:
    """Whether the registry has an image; *unknown* where it does not answer. Raises `Misconfigured` or `Forbidden` for a refusal."""
    try:
        digest = await registry.digest(Reference.parse(image))
    except Unreachable as error:
        log.warning("registry_unknown", image=image, reason=error.sentence)
        return Presence.UNKNOWN
    return Presence.NO if digest is None else Presence.YES


async def kept(job: BuildJob, bring: Callable[[], Awaitable[Exit]]) -> Exit:
    """Bring what was built to where images are kept, again and again while the registry is away: it is not to be built again for that."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PUSHING
    while True:
        try:
            return await bring()
        except DockyardError as error:
            if not isinstance(error, Unreachable) or loop.time() > deadline:
                return Exit(ok=False, reason=error.sentence, retryable=error.retryable)
            log.warning("push_interrupted", handle=job.handle, reason=error.sentence)
        await asyncio.sleep(_PAUSE)


async def platform_manifest(registry: Registry, image: Reference) -> Manifest | None:
    """The manifest of an image; of an index, that of its first real platform."""
    found = await registry.manifest(image)
    if found is None or "manifests" not in found.content:
        return found
    for entry in found.content["manifests"]:
        if entry.get("platform", {}).get("architecture", "unknown") != "unknown":
            return await registry.manifest(Reference(image.host, image.repository, entry["digest"]))
    return None


async def configuration(registry: Registry, repository: str, manifest: Manifest) -> dict[str, Any] | None:
    """The configuration that a manifest names."""
    body = await registry.blob(repository, manifest.content["config"]["digest"])
    return None if body is None else json.loads(body)


async def put_together(
    registry: Registry, job: BuildJob, environment: Reference, layer: ContentLayer, begin: Callable[[], AsyncIterator[bytes]] | None = None,
) -> str:
    """Make `job.image`; its digest. `EnvironmentGone` where there is nothing to stand on.

    `begin` starts the stream of the layer; None where the image's repository has it already.
    """
    image = Reference.parse(job.image)
    below = await platform_manifest(registry, environment)
    config = await configuration(registry, environment.repository, below) if below else None
    if below is None or config is None:
        raise EnvironmentGone("The environment's image has vanished from the registry.")
    content = below.content
    if image.repository != environment.repository:
        for entry in content["layers"]:
            if not await registry.mount(image.repository, entry["digest"], environment.repository):
                raise Unreachable("The image registry does not share layers between its repositories; switch docker.layers off.")
    if begin is not None:
        await registry.upload(image.repository, layer.digest, layer.size, begin)
    body = json.dumps(_configured(config, job, layer), sort_keys=True).encode()
    oci = below.media_type == OCI
    kind = "application/vnd.oci.image.layer.v1.tar+gzip" if oci else "application/vnd.docker.image.rootfs.diff.tar.gzip"
    manifest = {
        **content, "config": {**content["config"], "digest": await registry.upload_bytes(image.repository, body), "size": len(body)},
        "layers": [*content["layers"], {"mediaType": kind, "digest": layer.digest, "size": layer.size}],
    }
    return await registry.put_manifest(image, below.media_type, json.dumps(manifest, sort_keys=True).encode())


def _configured(config: dict[str, Any], job: BuildJob, layer: ContentLayer) -> dict[str, Any]:
    """The environment's configuration with the layer on top, labelled as repo2docker labels an image of its own."""
    created = datetime.fromtimestamp(min(max(layer.time, 0), _LATEST), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    inner = config.get("config") or {}
    labels = {**(inner.get("Labels") or {}), "repo2docker.ref": job.commit, "repo2docker.repo": job.repo_url}
    history = {"created": created, "created_by": f"dockyard: the content of {job.commit}", "comment": "content layer"}
    found = {
        **config, "created": created, "config": {**inner, "Labels": labels},
        "history": [*(config.get("history") or []), history],
        "rootfs": {"type": "layers", "diff_ids": [*config["rootfs"]["diff_ids"], layer.diff_id]},
    }
    found.pop("container_config", None)  # Docker's old record of the last step
    return found
