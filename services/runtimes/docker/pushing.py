"""From the build container to where images are kept: the worker pushes, so that no build ever sees the registry's password."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from services.errors import DockyardError
from services.registry import OCI, Reference, Registry
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.order import WORK

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


class NothingBuilt(DockyardError):
    """The build has ended well and left nothing: the container was cleaned under our hands."""

    retryable = True


async def file_of(engine: Engine, handle: str, path: str) -> AsyncIterator[bytes]:
    """A file of the build container, streamed; `NothingBuilt` if it is missing."""
    async for chunk in engine.stream(handle, path):
        if chunk is None:
            raise NothingBuilt(f"The build container has no {path}.")
        yield chunk


async def push(engine: Engine, registry: Registry, handle: str, name: str) -> str:
    """Push what a contained build has left, as `name`; its digest. Blobs that the registry has are not sent.

    Layers of shared base images go to a repository of their own, once, and are made known in the image's from there.
    """
    image = Reference.parse(name)
    bases = f"{image.repository.rpartition('/')[0]}/bases".removeprefix("/")
    found = await described(engine, handle, "out/image.json")
    if found is None:
        raise NothingBuilt("The build container has no image.")
    for blob in (found["config"], *found["layers"]):
        begin = partial(file_of, engine, handle, blob["file"])
        if not blob.get("squeezed", True):
            if await registry.has_blob(image.repository, blob["digest"]):
                continue
            await registry.upload(bases, blob["digest"], blob["size"], begin)
            if await registry.mount(image.repository, blob["digest"], bases):
                continue
        await registry.upload(image.repository, blob["digest"], blob["size"], begin)
    manifest = {
        "schemaVersion": 2, "mediaType": OCI,
        "config": {"mediaType": _CONFIG, "digest": found["config"]["digest"], "size": found["config"]["size"]},
        "layers": [
            {"mediaType": f"{_LAYER}+gzip" if layer["squeezed"] else _LAYER, "digest": layer["digest"], "size": layer["size"]}
            for layer in found["layers"]
        ],
    }
    return await registry.put_manifest(image, OCI, json.dumps(manifest).encode())


async def load(engine: Engine, handle: str) -> None:
    """Give the engine itself what a contained build has left."""
    await engine.load(lambda: file_of(engine, handle, f"{WORK}/out/image.tar"))


async def described(engine: Engine, handle: str, path: str) -> dict[str, Any] | None:
    """A JSON file of the build's volume, or None."""
    body = await engine.read(handle, f"{WORK}/{path}")
    return None if body is None else json.loads(body)
