"""The one place that speaks to a cluster: requests over the official client, answers as plain JSON, errors as ours.

The official client's asyncio half (`kubernetes.aio`) brings what is hard: kubeconfig files, service accounts whose
tokens change, exec plugins, TLS. Its generated methods and models are left aside: they would turn every pod of every
event into a tree of validated objects (milliseconds each, and a new value in a newer cluster is an error), where four
keys are read. Importing the package takes two seconds of CPU, so it is imported at the first call: a launcher makes none.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import aiohttp

from services.errors import DockyardError, Misconfigured
from services.observe.breakers import Breaker
from services.runtimes.kubernetes.errors import Absent, ClusterAway, ClusterRefused, Expired, Rejected, Taken
from services.runtimes.kubernetes.objects import Object
from services.settings import KubernetesSettings

if TYPE_CHECKING:
    from kubernetes.aio import client

T = TypeVar("T")

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CALL = aiohttp.ClientTimeout(total=30, sock_connect=5)
# A server sends bookmarks about once a minute, so a watch that is silent for longer is a dead connection.
_WATCH = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
_LOG = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=900)
_PAGE = 500  # objects of one answer of a list
_LOST = (aiohttp.ClientError, TimeoutError, OSError)


class Cluster:
    """One API server. Made anywhere, connected at the first call, bound to that event loop."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._client: client.ApiClient | None = None
        self._opening = asyncio.Lock()
        self._breaker = Breaker("Kubernetes API")  # shown only: who calls waits patiently as it is

    @property
    def namespace(self) -> str:
        """Where builds run."""
        return self._settings.namespace or _own_namespace() or "default"

    @property
    def users(self) -> str:
        """Where user servers run."""
        return self._settings.users or self.namespace

    async def aclose(self) -> None:
        """Close all connections; a later call opens new ones."""
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    async def call(self, method: str, path: str, *, body: Object | None = None, query: Mapping[str, Any] | None = None) -> Object:
        """One request; the answer as JSON. Raises what `errors` lists."""
        try:
            response = await self._request(method, path, body, query, _CALL)
            try:
                raw = await response.read()
            finally:
                response.release()
        except _LOST as error:
            away = _away(error)
            self._breaker.failed(away.sentence)
            raise away from error
        try:
            answer = _answer(response, raw)
        except ClusterAway as error:
            self._breaker.failed(error.sentence)
            raise
        self._breaker.succeeded()
        return answer

    async def items(self, path: str, selector: str = "") -> tuple[list[Object], str]:
        """All objects of a list, page by page, and the version to watch from."""
        found: list[Object] = []
        query: dict[str, Any] = {"limit": _PAGE} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self.call("GET", path, query=query)
            found += page.get("items") or ()
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return found, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def watch(self, path: str, selector: str, version: str, seconds: float) -> AsyncGenerator[Object, None]:
        """The events of a list since `version`, for about `seconds`. Raises `Expired`, `ClusterAway` and others."""
        query = {
            "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version, "labelSelector": selector,
            "timeoutSeconds": max(1, int(seconds)),
        }
        try:
            response = await self._request("GET", path, None, query, _WATCH)
            try:
                if response.status != 200:
                    _answer(response, await response.read())
                async for line in _lines(response.content):
                    event: Object = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _error(int(event["object"].get("code") or 500), event["object"])
                    yield event
            finally:
                response.close()
        except _LOST as error:
            raise _away(error) from error

    async def log(self, path: str, *, container: str, follow: bool) -> AsyncGenerator[list[bytes], None]:
        """The lines of a container's log from its beginning, in batches as they come; the last may lack its line end."""
        query = {"container": container} | ({"follow": "true"} if follow else {})
        try:
            response = await self._request("GET", f"{path}/log", None, query, _LOG)
            try:
                if response.status != 200:
                    _answer(response, await response.read())
                rest = b""
                async for chunk in response.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    if whole:
                        yield [line + b"\n" for line in whole]
                if rest:
                    yield [rest]
            finally:
                response.close()
        except _LOST as error:
            raise _away(error) from error

    async def patiently(self, call: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """The result of `call`, which may be made again, asking again while the API server is away."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + (self._settings.patience if seconds is None else seconds), 0.2
        while True:
            try:
                return await call()
            except ClusterAway as error:
                if loop.time() >= deadline:
                    raise
                wait = max(pause, error.pause or 0.0)
            await asyncio.sleep(min(wait, max(0.0, deadline - loop.time())))
            pause = min(5.0, 2 * pause)

    async def _request(
        self, method: str, path: str, body: Object | None, query: Mapping[str, Any] | None, timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        api = await self._open()
        address = path + (f"?{urlencode(query)}" if query else "")
        _, url, headers, sent, _ = await api.param_serialize(
            method, address, header_params={"Accept": "application/json"}, body=body, auth_settings=["BearerToken"],
        )
        answer = await api.call_api(method, url, headers, sent, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _open(self) -> "client.ApiClient":
        async with self._opening:
            if self._client is None:
                from kubernetes.aio import client

                self._client = client.ApiClient(await self._configuration())
                self._client.user_agent = "dockyard"
            return self._client

    async def _configuration(self) -> "client.Configuration":
        from kubernetes.aio import client, config

        settings, found = self._settings, client.Configuration()
        found.connection_pool_maxsize = 0  # no bound: every log that is followed holds a connection
        try:
            if not settings.kubeconfig and _ACCOUNT.joinpath("token").exists() and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    settings.kubeconfig or None, settings.context or None, client_configuration=found, persist_config=False)
        except (config.ConfigException, OSError) as error:
            raise Misconfigured(f"Setting kubernetes.kubeconfig: no way into a cluster was found ({error}).") from error
        return found


def _own_namespace() -> str:
    try:
        return _ACCOUNT.joinpath("namespace").read_text().strip()
    except OSError:
        return ""


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    # Not `readline`, which gives up at lines longer than its buffer.
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def _answer(response: aiohttp.ClientResponse, raw: bytes) -> Object:
    try:
        body: Object = json.loads(raw) if raw else {}
    except ValueError:
        body = {"message": raw[:300].decode(errors="replace").strip()}
    if response.status < 400:
        return body
    seconds = response.headers.get("Retry-After", "")
    raise _error(response.status, body, float(seconds) if seconds.isdigit() else None)


def _error(status: int, body: Object, pause: float | None = None) -> DockyardError:
    words = str(body.get("message") or f"status {status}").strip().rstrip(".")
    if status in (401, 403):
        return ClusterRefused(f"The cluster refuses: {words}.")
    if status == 404:
        return Absent(f"The cluster has no such object: {words}.")
    if status == 409:
        return Taken(f"The cluster has this object already: {words}.")
    if status == 410 or (status == 504 and "resource version" in words.lower()):
        return Expired(f"The cluster has forgotten this version: {words}.")
    if status == 429 or status >= 500:
        return ClusterAway(f"The cluster's API server cannot answer now: {words}.", pause)
    return Rejected(f"The cluster finds this invalid: {words}.")


def _away(error: BaseException) -> ClusterAway:
    words = "it takes too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return ClusterAway(f"The cluster's API server does not answer: {words}.")
