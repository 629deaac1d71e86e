"""Manifests and blobs of one registry, one verb a method.

Each verb may be called again. What is sought and missing is None or False; see the package for what errors mean.
Source: github.com/opencontainers/distribution-spec (1.1), tried against docker-registry 2.8.2.
"""

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from services.errors import Forbidden, Misconfigured, Unreachable
from services.registry.connection import Connection
from services.registry.reference import Reference
from services.settings import RegistrySettings

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
OCI = "application/vnd.oci.image.manifest.v1+json"
IMAGES = (OCI, "application/vnd.docker.distribution.manifest.v2+json")
# Without these a registry converts to the oldest format, whose digest is another, or says 404 for what it has.
MANIFESTS = (*IMAGES, *INDEXES)
_SIGN = "Docker-Distribution-API-Version"  # in the answers of most registries
_ACCEPT = {"Accept": ", ".join(MANIFESTS)}
_LARGEST = 8 << 20  # bytes of a manifest or configuration


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as the registry has it."""

    digest: str
    media_type: str
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        """What it says."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Registry:
    """One registry. Use as `async with`, or call `aclose`."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._connection = Connection(settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connection.close()

    async def ping(self) -> None:
        """Raises unless the registry answers and takes our credentials."""
        async with self._connection.request("GET", "v2/", ()) as response:
            self._expect(response, 200)

    # -- manifests ---------------------------------------------------------------------------------------------------

    async def digest(self, image: Reference) -> str | None:
        """The digest of what a tag means, whatever its media type; None if the registry has no such image."""
        async with self._connection.request("HEAD", _manifest(image), _pull(image.repository), headers=_ACCEPT) as response:
            if await self._absent(response):
                return None
            self._expect(response, 200)
            return response.headers.get("Docker-Content-Digest") or f"unknown:{image.tag}"

    async def manifest(self, image: Reference) -> Manifest | None:
        """A manifest, whole."""
        async with self._connection.request("GET", _manifest(image), _pull(image.repository), headers=_ACCEPT) as response:
            if await self._absent(response):
                return None
            self._expect(response, 200)
            body = await _bounded(response)
            digest = response.headers.get("Docker-Content-Digest") or _sha256(body)
            return Manifest(digest, response.content_type, body)

    async def put_manifest(self, image: Reference, media_type: str, body: bytes) -> str:
        """Store a manifest under a tag; its digest."""
        headers = {"Content-Type": media_type}
        async with self._connection.request("PUT", _manifest(image), _push(image.repository), headers=headers, body=body) as response:
            self._expect(response, 201)
            return response.headers.get("Docker-Content-Digest") or _sha256(body)

    async def delete(self, image: Reference) -> bool:
        """Forget what a tag means, by its digest, and with it every tag of the same digest; False if it was absent."""
        digest = image.tag if ":" in image.tag else await self.digest(image)
        if digest is None:
            return False
        path = f"v2/{image.repository}/manifests/{digest}"
        async with self._connection.request("DELETE", path, (f"repository:{image.repository}:delete",)) as response:
            if await self._absent(response):
                return False
            if response.status == 405:
                raise Forbidden(f"The image registry {self._connection.host} does not allow images to be deleted.")
            self._expect(response, 202, 200)
            return True

    # -- blobs -------------------------------------------------------------------------------------------------------

    async def blob(self, repository: str, digest: str) -> bytes | None:
        """A small blob, such as a configuration, checked against its digest."""
        async with self._connection.request("GET", f"v2/{repository}/blobs/{digest}", _pull(repository)) as response:
            if await self._absent(response):
                return None
            self._expect(response, 200)
            body = await _bounded(response)
        if _sha256(body) != digest:
            raise Unreachable(f"The image registry {self._connection.host} gave something else than was asked for.")
        return body

    async def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        async with self._connection.request("HEAD", f"v2/{repository}/blobs/{digest}", _pull(repository)) as response:
            if await self._absent(response):
                return False
            self._expect(response, 200)
            return True

    async def mount(self, repository: str, digest: str, source: str) -> bool:
        """Make a blob of another repository known in this one, without moving it; False where that is impossible."""
        path = f"v2/{repository}/blobs/uploads/?mount={digest}&from={source}"
        async with self._connection.request("POST", path, (*_push(repository), *_pull(source))) as response:
            self._expect(response, 201, 202)
            if response.status == 201:
                return True
            location = response.headers.get("Location", "")
        if location:  # the registry has begun an upload instead
            async with self._connection.request("DELETE", location, _push(repository)):
                pass
        return False

    async def upload(self, repository: str, digest: str, size: int, begin: Callable[[], AsyncIterator[bytes]]) -> None:
        """Store a blob of `size` bytes unless it is there; `begin` starts its stream, perhaps more than once."""
        if await self.has_blob(repository, digest):
            return
        async with self._connection.request("POST", f"v2/{repository}/blobs/uploads/", _push(repository)) as response:
            self._expect(response, 202)
            location = response.headers["Location"]
        mark = "&" if "?" in location else "?"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        async with self._connection.request(
            "PUT", f"{location}{mark}digest={digest}", _push(repository), headers=headers, body=begin,
        ) as response:
            self._expect(response, 201)

    async def upload_bytes(self, repository: str, body: bytes) -> str:
        """Store a small blob; its digest."""
        async def begin() -> AsyncIterator[bytes]:
            yield body

        digest = _sha256(body)
        await self.upload(repository, digest, len(body), begin)
        return digest

    # -- answers -----------------------------------------------------------------------------------------------------

    async def _absent(self, response: aiohttp.ClientResponse) -> bool:
        """Whether the registry says that it has no such thing. A 401 comes here only where it means that."""
        if response.status not in (404, 401):
            return False
        if _SIGN not in response.headers:
            await self._is_a_registry()
        return True

    async def _is_a_registry(self) -> None:
        """`Unreachable` where something else has answered: what a proxy that has lost the way does not find tells of no image."""
        with contextlib.suppress(Misconfigured, Forbidden):  # it may give to everybody what it has, and tell nobody of itself
            async with self._connection.request("GET", "v2/", (), headers={"Connection": "close"}) as response:
                found = response.status
            if found == 404:  # and the connection that led there is not used again
                raise Unreachable(f"At the address of the image registry {self._connection.host} something else answers.")

    def _expect(self, response: aiohttp.ClientResponse, *statuses: int) -> None:
        if response.status in statuses:
            return
        host = self._connection.host
        if response.status == 403:
            raise Forbidden(f"The image registry {host} refuses us this repository.")
        raise Unreachable(f"The image registry {host} answers {response.status} to {response.method}; nothing was done.")


def _manifest(image: Reference) -> str:
    return f"v2/{image.repository}/manifests/{image.tag}"


def _pull(repository: str) -> tuple[str, ...]:
    return (f"repository:{repository}:pull",)


def _push(repository: str) -> tuple[str, ...]:
    return (f"repository:{repository}:pull,push",)


def _sha256(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > _LARGEST:
            raise Unreachable("The image registry sends a document that is too large.")
    return body
