"""The client against a real registry: what is there, what is not, what nobody knows."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.ports import free_port
from services.errors import DockyardError, Misconfigured, Unreachable
from services.registry import Reference, Registry
from services.settings import RegistrySettings
from tests.registryserver import RegistryServer, registry
from tests.services.registry.servers import Issuer, issuer, needs_registry, passwords, push

pytestmark = needs_registry
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
async def client(server: RegistryServer) -> AsyncIterator[Registry]:
    async with Registry(RegistrySettings(url=server.url)) as found:
        yield found


@pytest.mark.parametrize("media", [DOCKER, OCI])
async def test_an_image_is_stored_found_and_forgotten(client: Registry, media: str) -> None:
    image = Reference.parse("binder/r2d-x:one")
    assert await client.digest(image) is None
    assert await client.manifest(image) is None
    digest = await push(client, "binder/r2d-x:one", media=media)
    assert await client.digest(image) == digest
    manifest = await client.manifest(image)
    assert manifest is not None
    assert (manifest.digest, manifest.media_type) == (digest, media)
    assert await client.blob("binder/r2d-x", manifest.content["layers"][0]["digest"]) == b"layer"
    assert await client.delete(image)
    assert await client.digest(image) is None
    assert not await client.delete(image)


async def test_an_index_counts_as_an_image(client: Registry) -> None:
    digest = await push(client, "many/platforms:amd64")
    body = (b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [{"mediaType": "%b", '
            b'"digest": "%b", "size": %d, "platform": {"architecture": "amd64", "os": "linux"}}]}')
    inner = await client.manifest(Reference.parse("many/platforms:amd64"))
    assert inner is not None
    image = Reference.parse("many/platforms:all")
    await client.put_manifest(image, "application/vnd.oci.image.index.v1+json", body % (OCI.encode(), digest.encode(), len(inner.body)))
    assert await client.digest(image) is not None


async def test_a_blob_is_mounted_and_not_sent_again(client: Registry) -> None:
    digest = await client.upload_bytes("from/here", b"some bytes")
    assert not await client.has_blob("to/there", digest)
    assert await client.mount("to/there", digest, "from/here")
    assert await client.blob("to/there", digest) == b"some bytes"
    assert not await client.mount("to/there", "sha256:" + "0" * 64, "from/here")


async def test_a_large_blob_is_streamed(client: Registry) -> None:
    import hashlib

    parts = [bytes([n]) * (1 << 20) for n in range(8)]

    async def begin() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    digest = "sha256:" + hashlib.sha256(b"".join(parts)).hexdigest()
    await client.upload("large/one", digest, 8 << 20, begin)
    assert await client.has_blob("large/one", digest)
    with pytest.raises(DockyardError):
        await client.upload("large/one", "sha256:" + "1" * 64, 8 << 20, begin)


async def test_a_registry_that_is_down_is_unknown_and_not_absent(tmp_path: Path) -> None:
    with registry(tmp_path) as server:
        async with Registry(RegistrySettings(url=server.url)) as client:
            await push(client, "a/b:1")
            server.stop()
            with pytest.raises(Unreachable, match="does not answer"):
                await client.digest(Reference.parse("a/b:1"))
            server.start()
            assert await client.digest(Reference.parse("a/b:1"))
    async with Registry(RegistrySettings(url=f"http://127.0.0.1:{free_port()}")) as nobody:
        with pytest.raises(Unreachable):
            await nobody.ping()


async def test_passwords(tmp_path: Path) -> None:
    with registry(tmp_path, passwords(tmp_path)) as server:
        async with Registry(RegistrySettings(url=server.url, username="somebody", password="right")) as client:
            await push(client, "a/b:1")
            assert await client.digest(Reference.parse("a/b:1"))
            assert await client.digest(Reference.parse("a/b:2")) is None
        async with Registry(RegistrySettings(url=server.url, username="somebody", password="wrong")) as client:
            with pytest.raises(Misconfigured, match=r"refuses the user somebody: the password or token is wrong") as caught:
                await client.digest(Reference.parse("a/b:1"))
            assert "wrong:" not in str(caught.value)
        async with Registry(RegistrySettings(url=server.url)) as client:
            with pytest.raises(Misconfigured, match="wants credentials"):
                await client.digest(Reference.parse("a/b:1"))


async def test_tokens(tmp_path: Path) -> None:
    with issuer(tmp_path) as found, registry(tmp_path, found.auth) as server:
        settings = RegistrySettings(url=server.url, username="somebody", password="right")
        async with Registry(settings) as client:
            await push(client, "public/b:1")
            found.asked.clear()
            for _ in range(5):
                assert await client.digest(Reference.parse("public/b:1"))
            assert await client.digest(Reference.parse("public/b:2")) is None
            assert await client.digest(Reference.parse("never/seen:1")) is None
            assert found.asked == [["repository:never/seen:pull"]]  # one token for each scope, kept
            digest = await client.upload_bytes("one/two", b"x")
            assert await client.mount("three/four", digest, "one/two")
            assert await client.delete(Reference.parse("public/b:1"))
            await push(client, "public/b:1")
        await _others(found, server)


async def _others(found: Issuer, server: RegistryServer) -> None:
    async with Registry(RegistrySettings(url=server.url)) as anybody:
        assert await anybody.digest(Reference.parse("public/b:1"))
        with pytest.raises(Misconfigured, match="wants credentials"):
            await anybody.digest(Reference.parse("private/b:1"))
    async with Registry(RegistrySettings(url=server.url, not_found_401=True)) as anybody:
        assert await anybody.digest(Reference.parse("private/b:1")) is None
    async with Registry(RegistrySettings(url=server.url, username="somebody", password="wrong")) as client:
        with pytest.raises(Misconfigured, match="somebody"):
            await client.digest(Reference.parse("public/b:1"))
    wrong = RegistrySettings(url=server.url, username="somebody", password="right", token_url=f"http://127.0.0.1:{free_port()}/")
    async with Registry(wrong) as client:
        with pytest.raises(Unreachable, match="for a token"):
            await client.digest(Reference.parse("public/b:1"))
    assert found.asked
