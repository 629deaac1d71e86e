"""The Docker engine: with `answers`, which turns its errors into ours, the only module that imports `docker`.

The client blocks, so every call runs in a thread of this object's own pool; following a log has a thread of its own. What
is asked of an engine is small and every verb may be called again: what exists already, or is gone already, is no error.

Errors: `Unreachable` where the engine does not answer or fails, `ImageVanished` where an image to start from is missing.
"""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, TypeVar

import docker
import docker.errors
import docker.types

from services.errors import ImageVanished
from services.observe.breakers import Breaker
from services.runtimes.docker.answers import LOST, closed, image_in, translated, unreachable
from services.runtimes.docker.containers import Container, Order, container_of
from services.runtimes.docker.streams import archive_of, first_member, leave, pumped

T = TypeVar("T")
SHARES = 128  # weight of a build's processor time, of which a server has the engine's usual 1024: people wait for servers


class Engine:
    """One engine, connected at the first call."""

    def __init__(self, host: str = "") -> None:
        self._host = host
        self._client: Any = None
        self._lock = threading.Lock()
        self._breaker = Breaker("Docker engine")
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="docker")

    def _api(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = docker.DockerClient(base_url=self._host, timeout=60) if self._host else docker.from_env(timeout=60)
            return self._client.api

    async def _call(self, work: Callable[[Any], T]) -> T:
        """Run something with the client in a thread."""
        def blocking() -> T:
            try:
                return work(self._api())
            except docker.errors.ImageNotFound as error:
                raise ImageVanished(f"The image {image_in(error)} is not on the Docker engine.") from error
            except docker.errors.NotFound:
                raise
            except LOST as error:
                raise unreachable(error) from error

        loop = asyncio.get_running_loop()
        try:
            return await self._breaker.ask(
                lambda: loop.run_in_executor(self._pool, blocking), lambda error: not isinstance(error.__cause__, docker.errors.APIError))
        except docker.errors.NotFound:
            self._breaker.succeeded()
            raise

    async def _unless(self, statuses: tuple[int, ...], work: Callable[[Any], object]) -> None:
        """Do something that may be done already: an answer with one of these statuses is none."""
        def attempt(api: Any) -> None:
            try:
                work(api)
            except docker.errors.APIError as error:
                if error.status_code not in statuses:
                    raise

        await self._call(attempt)

    async def aclose(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.close)
        self._pool.shutdown(wait=False)

    async def version(self) -> dict[str, Any]:
        """What the engine says of itself."""
        return dict(await self._call(lambda api: api.info()))

    async def create(self, order: Order) -> bool:
        """Make a container; False where there is one of this name."""
        def work(api: Any) -> bool:
            host = api.create_host_config(
                binds={source: {"bind": target, "mode": "ro" if read_only else "rw"} for source, target, read_only in order.mounts},
                tmpfs=dict(order.tmpfs) or None, network_mode=order.network or None, mem_limit=order.memory or None,
                memswap_limit=order.memory or None, nano_cpus=int(order.cpus * 1e9) or None, cpu_shares=SHARES,
                pids_limit=order.processes or None, security_opt=list(order.security) or None, cap_drop=["ALL"],
                cap_add=list(order.capabilities) or None, read_only=order.read_only, init=False,
                log_config=docker.types.LogConfig(type="json-file", config={
                    "max-size": str(order.log_bytes), "max-file": "2"} if order.log_bytes else {}),
            )
            try:
                api.create_container(
                    order.image, list(order.command) or None, name=order.name, labels=dict(order.labels),
                    environment=dict(order.environment), host_config=host, stdin_open=False, tty=False)
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
                return False
            return True

        return await self._call(work)

    async def start(self, name: str) -> None:
        """Start a container that has not been started; one that is gone is left alone. `Unreachable` where its network is gone."""
        try:
            await self._call(lambda api: api.start(name))
        except docker.errors.NotFound as error:
            if "network" in str(error.explanation):
                raise unreachable(error) from error

    async def inspect(self, name: str) -> Container | None:
        """A container, or None."""
        try:
            found = await self._call(lambda api: api.inspect_container(name))
        except docker.errors.NotFound:
            return None
        return container_of(found)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal; nothing happens where nothing runs."""
        await self._unless((404, 409), lambda api: api.kill(name, signal))

    async def wait(self, name: str, seconds: float) -> bool:
        """Whether a container has ended within so many seconds (it may be gone altogether)."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            found = await self.inspect(name)
            if found is None or found.status != "running":
                return True
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.1)

    async def remove(self, name: str) -> None:
        """Kill and forget a container with its anonymous volumes."""
        await self._unless((404, 409), lambda api: api.remove_container(name, v=True, force=True))  # 409: it is being removed

    async def names(self, *labels: str, running: bool = False) -> list[Mapping[str, str]]:
        """The labels of all containers that have these (`key` or `key=value`), of those that run or of all."""
        found = await self._call(lambda api: api.containers(all=not running, filters={"label": list(labels)}))
        return [one["Labels"] for one in found]

    async def processes(self, name: str) -> tuple[int, int]:
        """Processes and threads of a container, and how many it may have (0: unlimited)."""
        try:
            found = await self._call(lambda api: api.stats(name, stream=False, one_shot=True))
        except docker.errors.NotFound:
            return 0, 0
        pids = found.get("pids_stats") or {}
        limit = pids.get("limit", 0)
        return int(pids.get("current", 0)), int(limit) if limit < 1 << 31 else 0

    async def put(self, name: str, directory: str, files: Mapping[str, bytes]) -> bool:
        """Write files into a container that is at least created; False where it is gone."""
        return await self.put_archive(name, directory, archive_of(files))

    async def put_archive(self, name: str, directory: str, archive: IO[bytes]) -> bool:
        """Unpack a tar archive in a container; False where it is gone."""
        try:
            await self._call(lambda api: api.put_archive(name, directory, archive))
        except docker.errors.NotFound:
            return False
        return True

    async def read(self, name: str, path: str, limit: int = 1 << 20) -> bytes | None:
        """A small file of a container, or None; longer ones are cut at `limit` bytes."""
        found = b""
        async for chunk in self.stream(name, path):
            if chunk is None or len(found) >= limit:
                return None if chunk is None else found[:limit]
            found += chunk
        return found[:limit]

    async def stream(self, name: str, path: str) -> AsyncIterator[bytes | None]:
        """The bytes of a container's file as they come; one None where there is no such file."""
        def begin(api: Any) -> Any:
            try:
                return api.get_archive(name, path, chunk_size=1 << 20)[0]
            except docker.errors.NotFound:
                return None

        chunks = await self._call(begin)
        if chunks is None:
            yield None
            return
        async with pumped(chunks, leave, translated) as taken:
            async for data in first_member(taken):
                yield data

    @contextlib.asynccontextmanager
    async def output(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """All that a container has written and will write until its end, both streams together."""
        stream = await self._call(lambda api: api.logs(name, stdout=True, stderr=True, stream=True, follow=True))
        async with pumped(stream, closed, translated) as chunks:
            yield chunks

    async def last_words(self, name: str, lines: int = 1) -> bytes:
        """The end of what a container has written."""
        try:
            return bytes(await self._call(lambda api: api.logs(name, stdout=True, stderr=True, tail=lines)))
        except docker.errors.NotFound:
            return b""

    # -- images, volumes, networks -----------------------------------------------------------------------------------

    async def image(self, name: str) -> dict[str, Any] | None:
        """What the engine knows of an image, or None."""
        try:
            return dict(await self._call(lambda api: api.inspect_image(name)))
        except (docker.errors.NotFound, ImageVanished):
            return None

    async def pull(self, name: str) -> None:
        """Fetch an image from its registry, as an anonymous visitor."""
        await self._call(lambda api: api.pull(name if ":" in name.rpartition("/")[2] else f"{name}:latest"))

    async def remove_image(self, name: str) -> None:
        """Forget an image's name, and the image with its last name; one that is in use stays."""
        await self._unless((404, 409), lambda api: api.remove_image(name))

    async def load(self, begin: Callable[[], AsyncIterator[bytes]]) -> None:
        """Load an image from a stream in the format of `docker save`."""
        with tempfile.TemporaryFile() as file:
            async for chunk in begin():
                await asyncio.to_thread(file.write, chunk)
            file.seek(0)
            await self._call(lambda api: [None for _ in api.load_image(file)])

    async def save(self, name: str) -> AsyncIterator[bytes]:
        """An image as `docker save` writes it."""
        stream = await self._call(lambda api: api.get_image(name))
        async with pumped(stream, leave, translated) as chunks:
            async for chunk in chunks:
                yield chunk

    async def history(self, image: str) -> list[dict[str, Any]]:
        """The steps that an image was made by, each with `Created`, `CreatedBy` and the `Size` of its layer; none where it is gone."""
        try:
            return list(await self._call(lambda api: api.history(image)))
        except (docker.errors.NotFound, ImageVanished):
            return []

    async def volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a volume unless there is one."""
        await self._call(lambda api: api.create_volume(name, labels=dict(labels)))

    async def remove_volume(self, name: str) -> None:
        """Remove a volume unless it is missing or in use."""
        await self._unless((404, 409), lambda api: api.remove_volume(name, force=True))

    async def subnets(self, name: str) -> list[str] | None:
        """The addresses (IPv4) that a network has, or None where there is no network of this name."""
        found = await self._networks(name)
        if not found:
            return None
        configured = (found[0].get("IPAM") or {}).get("Config") or ()
        return [entry["Subnet"] for entry in configured if ":" not in entry.get("Subnet", ":")]

    async def listed(self, what: str, label: str = "") -> list[dict[str, Any]]:
        """The engine's models of all containers, volumes, networks or images, those with a label where one is given."""
        more: dict[str, Any] = {"filters": {"label": label}} if label else {}
        more |= {"all": True} if what == "containers" else {}
        found = await self._call(lambda api: getattr(api, what)(**more))
        return list((found.get("Volumes") or ()) if what == "volumes" else found)

    async def remove_network(self, name: str) -> None:
        """Remove a network unless it is missing or in use."""
        await self._unless((403, 404, 409), lambda api: api.remove_network(name))

    async def network(self, name: str, labels: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Make a bridge unless there is a network of this name. The engine lets two have one name: the older one stays."""
        if not await self._networks(name):
            await self._unless((409,), lambda api: api.create_network(  # 409: somebody else was faster
                name, driver="bridge", labels=dict(labels), options=dict(options)))
        for twin in (await self._networks(name))[1:]:
            await self.remove_network(twin["Id"])

    async def _networks(self, name: str) -> list[dict[str, Any]]:
        found = await self._call(lambda api: api.networks(names=[name]))
        return sorted((one for one in found if one["Name"] == name), key=lambda one: (one["Created"], one["Id"]))
