"""The spawner of the runtime `docker`: a launch's server in a container, bound and alone in its network.

DockerSpawner makes the container; here is what a public service needs around it. The image is there before the container is
made, so its name can be told from a broken server. The container has the limits of the settings, no capabilities, no way to
gain any, and a network that holds nothing of ours. Whether the server answers is asked every 30 ms: JupyterHub's own waiting
doubles its pauses and sleeps up to two seconds past a server that is up.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from docker.errors import APIError, NotFound
from dockerspawner import DockerSpawner
from requests.exceptions import RequestException
from traitlets import Float

import services.settings
from deploy.hub.binder import BinderMixin, option
from deploy.hub.failure import BROKEN, UNLUCKY, VANISHED, StartFailed
from deploy.hub.steps import Steps
from services.errors import DockyardError
from services.registry.credentials import Credentials, find
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.order import OURS, SERVER
from services.runtimes.docker.spawning import container
from services.runtimes.docker.wall import Wall
from services.settings import Settings

_networks: set[str] = set()
POLL = 0.03  # seconds between two looks whether a server answers
# Starts JupyterLab where it is new enough, as BinderHub's chart does, without importing it to find out.
COMMAND = [
    "python3", "-c",
    "import os, shutil, sys\n"
    "from importlib.metadata import PackageNotFoundError, version\n"
    "try:\n    lab = int(version('jupyterlab').split('.')[0]) >= 3\n"
    "except (PackageNotFoundError, ValueError):\n    lab = False\n"
    "name = 'jupyter-lab' if lab and shutil.which('jupyter-lab') else 'jupyter-notebook'\n"
    "os.execvp(name, [name, *sys.argv[1:]])\n",
]


@cache
def settings() -> Settings:
    """The settings of this hub."""
    return services.settings.load()


async def make_network() -> None:
    """Make the servers' network where it is missing, and what may not be reached from it. Once."""
    found = settings().docker
    if found.server_network in _networks:
        return
    engine = Engine(found.host)
    try:
        await Wall(engine, found, settings().egress).network(found.server_network)
        _networks.add(found.server_network)
    finally:
        await engine.aclose()


def warm_up() -> None:
    """The same before the first server; whatever is wrong is told when that one starts."""
    with contextlib.suppress(DockyardError):
        asyncio.run(make_network())


def configure(c: Any) -> None:
    """The part of jupyterhub_config.py that belongs to this spawner."""
    found = settings().docker
    c.JupyterHub.spawner_class = DockerServer
    spawner = c.DockerServer
    spawner.allowed_images = "*"
    spawner.cmd = COMMAND
    spawner.name_template = container("{raw_username}")
    spawner.network_name = found.server_network
    spawner.use_internal_ip = True
    spawner.remove = True
    spawner.start_timeout = 3600  # a pull may be long; it bounds itself afterwards
    spawner.http_timeout = 30
    spawner.mem_limit = found.server_memory
    if found.server_cpus:
        spawner.cpu_limit = found.server_cpus
    if found.host:
        spawner.client_kwargs = {"base_url": found.host}
    storage = {"storage_opt": {"size": str(found.server_bytes)}} if found.server_bytes else {}
    spawner.extra_host_config = {
        "auto_remove": False,  # what a server said last is wanted when it does not come up
        "memswap_limit": found.server_memory, "pids_limit": found.server_processes, "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"], **storage,
    }


class DockerServer(BinderMixin, DockerSpawner):  # type: ignore[misc]  # DockerSpawner has no types
    """Starts a container of `user_options["image"]`."""

    patience = Float(120.0, config=True, help="Seconds from the start of the container until the server has to answer.")
    cors_allow_origin = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._steps = Steps()
        self.patience = settings().docker.server_patience
        origins = settings().front.origins
        self.cors_allow_origin = "*" if "*" in origins else (origins[0] if len(origins) == 1 else "")

    def get_env(self) -> dict[str, str]:
        """The launch's own variables come first, so that they change none of ours."""
        given = self.user_options.get("environment") or {}
        if not isinstance(given, dict):
            raise StartFailed("The environment of a server is a table of texts.", BROKEN)
        return {str(name): option(given, name) for name in given} | super().get_env()

    async def start(self) -> tuple[str, int]:
        """Start the server and return its address once it answers. Raises `StartFailed`."""
        self._steps.clear()
        found = settings().docker
        self.extra_create_kwargs = {"labels": found.further_labels() | {SERVER: self.user.name, OURS: found.installation}}
        self._steps.tell(10, "Starting your server.")
        try:
            await make_network()
            ip, port = await super().start()
            self._steps.tell(60, "Starting Jupyter.")
            await self._answering(ip, port)
        except NotFound as error:
            if "network" in str(error.explanation):
                _networks.discard(found.server_network)  # made anew for the next one
                raise StartFailed(f"The network of the servers is gone: {error.explanation}.", UNLUCKY) from error
            raise StartFailed(f"The image of this server is gone: {error.explanation}.", VANISHED) from error
        except (APIError, RequestException) as error:
            words = getattr(error, "explanation", "") or str(error)
            raise StartFailed(f"The Docker engine could not start the server: {str(words)[:300]}.", UNLUCKY) from error
        except DockyardError as error:
            raise StartFailed(error.sentence, UNLUCKY) from error
        return ip, port

    async def pull_image(self, image: str) -> None:
        """Get the image unless it is on the engine, with the registry's credentials."""
        try:
            await self.docker("inspect_image", image)
        except NotFound:
            self._steps.tell(20, "Fetching the image to the machine that runs your server.")
            registry = settings().registry
            known = await find(registry) if registry.url else Credentials()
            repository, _, tag = image.rpartition(":")
            await self.docker("pull", repository, tag, auth_config=known.for_engine or None)
            await self.docker("inspect_image", image)  # a failed pull says so in a text alone

    async def _answering(self, ip: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        deadline, look = loop.time() + self.patience, loop.time() + 0.5
        while not await _answers(ip, port, f"{self.server.base_url}api"):
            if loop.time() > look:
                look = loop.time() + 0.5
                if await self.poll() is not None:
                    raise StartFailed(f"The server ended before it answered. Its last words:\n{await self._words()}", BROKEN)
            if loop.time() > deadline:
                raise StartFailed(
                    f"The server did not answer within {self.patience:.0f} seconds. Its last words:\n{await self._words()}", UNLUCKY)
            await asyncio.sleep(POLL)

    async def _words(self) -> str:
        with contextlib.suppress(APIError, RequestException):
            said = await self.docker("logs", self.container_id, tail=15)
            return bytes(said).decode("utf-8", "replace").strip()[-1500:]
        return "(none)"

    def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What `start` does, from the beginning, for each who asks."""
        return self._steps.follow()

    async def stop_object(self) -> None:
        """TERM, and KILL after two seconds: nothing in a server outlives it."""
        with contextlib.suppress(NotFound):
            await self.docker("stop", self.container_id, timeout=2)

    async def run_post_stop_hook(self) -> None:
        """After any end of a server, its own too: remove the container."""
        with contextlib.suppress(APIError, RequestException):
            await self.docker("remove_container", self.container_name, v=True, force=True)


async def _answers(ip: str, port: int, path: str) -> bool:
    """Whether an HTTP server answers there with anything below 500."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(ip, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline())[9:10] in (b"2", b"3", b"4")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
