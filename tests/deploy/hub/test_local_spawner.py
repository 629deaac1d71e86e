"""Real Jupyter servers in sandboxes, through the real hub and the real proxy."""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from services.errors import ImageVanished, LaunchFailed, Overloaded
from services.hub import Hub, UserOptions, spawn
from services.runtimes.local.detached import Running
from services.runtimes.local.spawning import LocalSpawning
from tests import kernels
from tests.deploy.hub.stack import Stack

pytestmark = pytest.mark.slow


class Visitor:
    """Starts servers and visits them, as launcher and browser do."""

    def __init__(self, stack: Stack, hub: Hub, http: aiohttp.ClientSession) -> None:
        self.stack, self.hub, self.http = stack, hub, http
        self.said: list[str] = []

    async def launch(self, image: str = "plain:1", name: str = "", **extra: Any) -> "Server":
        name, token = name or f"repo-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        options = UserOptions(
            image=image, token=token, repo_url="https://example.org/repo", binder_ref_url="https://example.org/repo/tree/1",
            binder_launch_host="http://localhost:8000/", binder_request="v2/gh/o/r/HEAD",
            binder_persistent_request="v2/gh/o/r/1", binder_client_ip="127.0.0.1", extra=extra,
        )

        async def own() -> None:
            return

        async def say(message: str) -> None:
            self.said.append(message)

        url = await spawn(self.hub, name, options, seconds=300, say=say, own=own)
        return Server(self, name, token, url)


class Server:
    """A server that runs."""

    def __init__(self, visitor: Visitor, name: str, token: str, url: str) -> None:
        self.visitor, self.name, self.token, self.url = visitor, name, token, url

    async def status(self, token: str = "") -> int:
        async with self.visitor.http.get(f"{self.url}api/status", params={"token": token or self.token}) as response:
            return response.status

    async def run(self, code: str) -> str:
        """What the code prints in a kernel."""
        return await kernels.compute(self.url, self.token, code)

    def running(self) -> Running:
        found = self.visitor.stack.servers.status(self.name)
        assert isinstance(found, Running)
        return found

    async def remove(self) -> None:
        await self.visitor.hub.remove(self.name)


@pytest.fixture
async def visitor(stack: Stack) -> AsyncIterator[Visitor]:
    async with stack.hub() as hub, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Visitor(stack, hub, http)


async def test_server_answers_to_its_token_alone_and_computes(visitor: Visitor, stack: Stack) -> None:
    name = f"repo-{secrets.token_hex(4)}"
    async with asyncio.TaskGroup() as tasks:  # a server that runs has no more to tell
        launch = tasks.create_task(visitor.launch("start:1", name, environment={"HELD": "until all was said"}))
        async with asyncio.timeout(240):
            while len(visitor.said) < 4:
                await asyncio.sleep(0.02)
        (stack.home.path / "local/servers" / name / "home/go").touch()
    server = launch.result()
    assert visitor.said[1:] == ["Starting your server.", "Putting the files of the repository in their place.", "Starting Jupyter."]
    assert await server.status() == 200
    assert await server.status("wrong") == 403
    assert await server.run("print(1 + 1)") == "2\n"
    async with visitor.http.get(f"{server.url}lab", params={"token": server.token}) as response:
        assert response.status == 200
        assert "JupyterLab" in await response.text()
    async with visitor.http.get(f"{server.url}api/contents/index.ipynb", params={"token": server.token}) as response:
        assert response.status == 200
    spawning = LocalSpawning(stack.servers)
    assert server.name in await spawning.running()
    await server.remove()
    assert server.name not in await spawning.running()
    assert not (stack.home.path / "local/servers" / server.name).exists()
    async with visitor.http.get(f"{server.url}lab", headers={"Accept": "text/html"}) as response:
        assert response.status == 424
        assert "Binder not found" in await response.text()
    async with visitor.http.get(f"{server.url}api/status") as response:
        assert response.status == 424
        assert response.content_type == "application/json"


async def test_start_script_and_launch_variables_reach_the_kernel(visitor: Visitor) -> None:
    server = await visitor.launch("start:1", environment={"GREETING": "hello; $(id)", "JUPYTER_TOKEN": "mine"})
    names = ["FROM_START", "GREETING", "BINDER_REPO_URL", "BINDER_REF_URL", "BINDER_LAUNCH_HOST", "BINDER_REQUEST",
             "BINDER_PERSISTENT_REQUEST", "BINDER_CLIENT_IP"]
    found = json.loads(await server.run(f"import json, os; print(json.dumps([os.environ[name] for name in {names}]))"))
    assert found == [
        "set by start", "hello; $(id)", "https://example.org/repo", "https://example.org/repo/tree/1", "http://localhost:8000/",
        "v2/gh/o/r/HEAD", "v2/gh/o/r/1", "127.0.0.1",
    ]
    assert await server.status("mine") == 403
    await server.remove()


async def test_server_outlives_a_killed_hub_and_a_killed_proxy(visitor: Visitor, stack: Stack) -> None:
    server = await visitor.launch()
    before = server.running()
    await stack.kill("hub")
    assert await server.status() == 200  # the proxy needs no hub
    await stack.start("hub")
    async with asyncio.timeout(120):  # the hub that has just come looks at its servers one after the other
        while not ((user := await visitor.hub.user(server.name)) and user.server and user.server.ready):
            await asyncio.sleep(0.05)
    assert server.running() == before
    await stack.kill("proxy")
    await stack.start("proxy")
    answer = 0
    while answer != 200:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            answer = await server.status()
        await asyncio.sleep(0.05)
    assert server.running() == before
    await server.remove()
    assert server.name not in stack.servers.running()


async def test_hub_killed_while_a_server_starts_costs_no_attempt(visitor: Visitor, stack: Stack) -> None:
    name = f"repo-{secrets.token_hex(4)}"
    launch = asyncio.create_task(visitor.launch(name=name))
    while not isinstance(stack.servers.status(name), Running):
        await asyncio.sleep(0.005)
    before = stack.servers.status(name)
    await stack.kill("hub")
    await stack.start("hub")
    server = await launch
    assert await server.status() == 200
    assert server.running() == before
    await server.remove()


async def test_failures_are_told_in_words(visitor: Visitor, stack: Stack) -> None:
    with pytest.raises(ImageVanished, match="The image is gone"):
        await visitor.launch("unknown:1")
    with pytest.raises(LaunchFailed, match=r"(?s)^The server ended with status 3 .*The data set is missing\.$") as caught:
        await visitor.launch("broken:1")
    assert not caught.value.retryable
    with pytest.raises(LaunchFailed, match=r"^The server was ended because it used more than the 2 GiB of memory") as caught:
        await visitor.launch("greedy:1")
    assert not caught.value.retryable
    for environment in ({"A=B": "x"}, {"A": "\0"}, {"A": "x" * 40_000}):
        with pytest.raises(LaunchFailed):
            await visitor.launch(environment=environment)
    async with asyncio.timeout(120):
        while stack.servers.running() or [*(stack.home.path / "local/servers").iterdir(), *(stack.home.run / "s").iterdir()]:
            await asyncio.sleep(0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
async def test_a_full_disk_is_no_room_and_no_failure(visitor: Visitor, stack: Stack) -> None:
    async for user in visitor.hub.users():
        await visitor.hub.remove(user.name)
    place = stack.home.path / "local" / "servers"
    found = place.stat()
    options = f"size=4k,mode={found.st_mode & 0o7777:o},uid={found.st_uid},gid={found.st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "test", str(place)], check=True)
    try:
        with pytest.raises(Overloaded, match="No space left on device"):
            await visitor.launch()
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    server = await visitor.launch()
    assert await server.status() == 200
    await server.remove()


async def test_server_sees_nothing_of_the_machine(visitor: Visitor, stack: Stack) -> None:
    server = await visitor.launch()
    probe = """
import json, os, socket, stat
found = {"sockets": [], "places": [name for name in ("/root", "/var/run", "/run/s", "HOME") if os.path.exists(name)]}
for folder, _, names in os.walk("/run"):
    found["sockets"] += [f"{folder}/{name}" for name in names if stat.S_ISSOCK(os.lstat(f"{folder}/{name}").st_mode)]
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
found["capabilities"] = [status["CapEff"], status["CapPrm"], status["CapBnd"], status["NoNewPrivs"]]
found["uid"] = os.getuid()
found["processes"] = max(int(name) for name in os.listdir("/proc") if name.isdigit()) < 1000
def reaches(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
found["reaches"] = [port for port in PORTS if reaches(port)]
found["secrets"] = [name for name in os.environ if "SECRET" in name or name.startswith(("DOCKYARD", "CONFIGPROXY"))]
print(json.dumps(found))
""".replace("HOME", str(stack.home.path)).replace("PORTS", str([stack.settings.front.port, stack.settings.front.port + 1]))
    found = json.loads(await server.run(probe))
    assert found.pop("sockets") == ["/run/server/s"]  # the directory of that to the network may be passed through, not listed
    assert found == {
        "places": [], "capabilities": ["0" * 16, "0" * 16, "0" * 16, "1"], "uid": 1000, "processes": True, "reaches": [], "secrets": [],
    }
    await server.remove()


async def test_server_keeps_its_network_when_the_egress_proxy_is_started_anew(visitor: Visitor, stack: Stack) -> None:
    server = await visitor.launch()
    ask = """
import socket
with socket.create_connection(("127.0.0.1", 3128), 60) as proxy:
    proxy.sendall(b"CONNECT 169.254.169.254:80 HTTP/1.1\\r\\n\\r\\n")
    print(proxy.recv(12).decode())
"""
    assert await server.run(ask) == "HTTP/1.1 470\n"
    await stack.kill("egress")
    await stack.start("egress")
    assert await server.run(ask) == "HTTP/1.1 470\n"
    await server.remove()


async def test_socket_that_became_a_link_leads_nowhere(visitor: Visitor, stack: Stack) -> None:
    """A server that puts a link to another socket in the place of its own does not move the proxy's route."""
    server = await visitor.launch()
    hub_socket = stack.home.run / "hub/hub.sock"
    await server.run(f"import os; os.rename('/run/server/s', '/run/server/t'); os.symlink({str(hub_socket)!r}, '/run/server/s')")
    assert await server.status() == 200
    assert not stack.servers.socket(server.name).is_symlink()
    await server.remove()


async def test_token_is_stored_nowhere(visitor: Visitor, stack: Stack) -> None:
    server = await visitor.launch()
    run = stack.home.path / "local/servers" / server.name
    for path in (run / "log", *(run / "run").iterdir()):
        assert server.token.encode() not in path.read_bytes()
    stored = b"".join(path.read_bytes() for path in (stack.home.path / "hub").iterdir() if path.is_file())
    assert server.name.encode() in stored
    assert server.token.encode() not in stored
    await server.remove()
