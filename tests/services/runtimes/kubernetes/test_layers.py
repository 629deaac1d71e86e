"""A pod that has left a layer of content in a real registry: the worker puts the image together there."""

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path

from services.registry import Reference, Registry
from services.runtimes.base import Exit
from services.runtimes.kubernetes.builder import PodBuilder
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.telling import Telling
from services.settings import RegistrySettings
from tests.registryserver import registry
from tests.services.registry.servers import needs_registry
from tests.services.runtimes.kubernetes.apiserver import ApiServer
from tests.services.runtimes.kubernetes.test_builder import JOB, followed, running

_OCI = "application/vnd.oci.image"


async def environment(store: Registry, name: str) -> str:
    """An image of one layer; the layer's digest."""
    image = Reference.parse(name)
    layer = await store.upload_bytes(image.repository, b"an environment")
    body = json.dumps({"config": {"User": "1000"}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}}).encode()
    config = {"mediaType": f"{_OCI}.config.v1+json", "digest": await store.upload_bytes(image.repository, body), "size": len(body)}
    layers = [{"mediaType": f"{_OCI}.layer.v1.tar+gzip", "digest": layer, "size": 14}]
    manifest = {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "config": config, "layers": layers}
    await store.put_manifest(image, f"{_OCI}.manifest.v1+json", json.dumps(manifest).encode())
    return layer


@needs_registry
async def test_the_worker_puts_the_image_together(server: ApiServer, settings_of, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The environment's layers and the new one, under the image's name; without the environment, another attempt."""
    key, content = "e" * 64, b"the content"
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    layer = {"digest": digest, "diff_id": "sha256:" + "2" * 64, "size": len(content), "time": 10**12}
    message = json.dumps({"facts": {"environment": key, "layer": json.dumps(layer)}})
    with registry(tmp_path / "store") as found:
        settings = settings_of({"DOCKYARD_REGISTRY_URL": found.url, "DOCKYARD_BUILDS_IMAGE_PREFIX": f"{found.host}/b/r2d-"})
        job = replace(JOB, image=f"{found.host}/b/r2d-x:c")

        async def built(store: Registry, attempt: int, said: str) -> Exit:
            this = replace(job, attempt=attempt)
            cluster = Cluster(settings.kubernetes)
            builder = PodBuilder(cluster, Telling(settings), settings.kubernetes, settings.builds, store)
            task = asyncio.create_task(followed(builder, job=this))
            await running(server, this)
            await server.end(this.handle, message=said)
            [*_, end] = await task
            await builder.aclose()
            assert isinstance(end, Exit)
            return end

        async with Registry(RegistrySettings(url=found.url)) as store:
            await store.upload_bytes("b/r2d-x", content)
            gone = await built(store, 1, message)
            assert (gone.ok, gone.retryable) == (False, True)
            base = await environment(store, f"{found.host}/b/r2d-environments:{key}")
            assert await built(store, 2, message) == Exit(ok=True, facts={"environment": key, "layered": "yes"})
            manifest = await store.manifest(Reference.parse(job.image))
            assert manifest is not None
            assert [each["digest"] for each in manifest.content["layers"]] == [base, digest]
            config = json.loads(await store.blob("b/r2d-x", manifest.content["config"]["digest"]) or b"")
            assert config["rootfs"]["diff_ids"] == ["sha256:" + "1" * 64, "sha256:" + "2" * 64]
            assert config["config"]["Labels"]["repo2docker.ref"] == job.commit
            broken = await built(store, 3, json.dumps({"facts": {"environment": key, "layer": "[]"}}))
            assert (broken.ok, broken.retryable) == (False, False)
