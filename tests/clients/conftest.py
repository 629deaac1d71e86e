"""One installation on the fake runtime, at the root and below a base path, and the published clients that are set at it."""

import asyncio
import fcntl
import hashlib
import json
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from bench.ports import free_port
from tests.listening import Listening
from tests.stack import SHA, Stack, own_settings

HERE = Path(__file__).parent


def repository(script: str) -> str:
    """`owner/name` of a repository whose build does what the script says; the owner is nobody else's."""
    return f"of-{secrets.token_hex(4)}/{script}"


async def _commit(request: Request) -> Response:
    """GitHub's answer for any ref of any repository."""
    return JSONResponse({"sha": SHA})


async def _doi(request: Request) -> Response:
    return RedirectResponse("/records/3242074", 302)


async def _record(request: Request) -> Response:
    return PlainTextResponse("A record.")


async def _files(request: Request) -> Response:
    return JSONResponse({"files": [{"key": "a.txt", "size": 1, "links": {"self": "http://127.0.0.1/never-asked-for"}}]})


FORGES = Starlette(routes=[
    Route("/repos/{owner}/{repo}/commits/{ref:path}", _commit), Route("/doi/{doi:path}", _doi), Route("/records/{id}", _record),
    Route("/api/records/{id}", _files),
])


@dataclass(frozen=True, slots=True)
class Site:
    """The installation; `addresses` are its front doors, each with the slash at its end."""

    stack: Stack
    addresses: dict[str, str]

    def start_below(self) -> None:
        """Start the api process that is below a base path."""
        where = urlsplit(self.addresses["below"])
        self.stack.start("below", "api", DOCKYARD_FRONT_PORT=str(where.port), DOCKYARD_FRONT_BASE_URL=where.path)


@pytest.fixture(scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Two api processes, one of them below `/binder/`, on one database with one worker and one launcher."""
    async with (
        Listening(FORGES) as forges, own_settings(tmp_path_factory.mktemp("clients"), 62) as (settings, directory),
        Stack(
            settings, directory, DOCKYARD_FRONT_ORIGINS="*", DOCKYARD_PROVIDERS_ENABLED="gh,gist,git,gl,zenodo",
            DOCKYARD_PROVIDERS_GITHUB_API=forges.at(""), DOCKYARD_PROVIDERS_DOI_URL=forges.at("/doi"),
            DOCKYARD_EGRESS_PRIVATE="true", DOCKYARD_LEASES_SECONDS="60",
        ) as stack,
    ):
        found = Site(stack, {"root": f"http://127.0.0.1:{stack.port}/", "below": f"http://127.0.0.1:{free_port()}/binder/"})
        found.start_below()
        await stack.up("api", "worker", "launcher")

        async def answers() -> bool:
            try:
                return (await stack.client.get(f"{found.addresses['below']}livez")).status_code == 200
            except httpx.TransportError:
                return False

        await stack.until(answers)
        yield found


@pytest.fixture(params=["root", "below"])
def base(site: Site, request: pytest.FixtureRequest) -> str:
    """The address of a front door."""
    return site.addresses[request.param]


@pytest.fixture(scope="session")
def packages(pytestconfig: pytest.Config) -> Path:
    """The clients' packages, installed once for each state of the lock file."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("no Node.js with npm here")
    assert pytestconfig.cache is not None
    lock = HERE / "package-lock.json"
    directory = pytestconfig.cache.mkdir(f"clients-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}")
    with (directory / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (directory / "complete").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, directory)
            try:
                done = subprocess.run(
                    [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=directory, capture_output=True, text=True,
                    timeout=180, check=False,
                )
            except subprocess.TimeoutExpired:
                pytest.skip("the clients' packages could not be installed within three minutes")
            if done.returncode != 0:
                pytest.skip(f"the clients' packages could not be installed: {done.stderr.strip()[-300:]}")
            (directory / "complete").touch()
    return directory


@dataclass(frozen=True, slots=True)
class Drive:
    """Runs clients under Node.js."""

    packages: Path

    async def __call__(self, client: str, base: str, spec: str, **options: object) -> list[dict[str, Any]]:
        """What a client hands on until it has done."""
        process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "drive.mjs"), client, base, spec, json.dumps(options), cwd=self.packages,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), 300)
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            raise AssertionError(f"{client} does not end: {out.decode()} {err.decode()}") from None
        assert process.returncode == 0, err.decode()
        return [json.loads(line) for line in out.decode().splitlines()]


@pytest.fixture(scope="session")
def drive(packages: Path) -> Drive:
    return Drive(packages)
