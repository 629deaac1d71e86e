"""BinderHub's own tests for a server that runs somewhere (`pytest -m remote`), against this one, without the network.

    git clone https://github.com/jupyterhub/binderhub          # with a Python that has its dev-requirements
    git clone --mirror https://github.com/binderhub-ci-repos/cached-minimal-dockerfile copies/cached-minimal-dockerfile
    git clone --mirror https://github.com/binderhub-ci-repos/minimal-dockerfile copies/minimal-dockerfile
    python -m tests.clients.remote binderhub copies --python binderhub/.venv/bin/python [--runtime local]

The forges that the tests name are played by a server on loopback: GitHub's and GitLab's answers for the refs of the copies, and git
itself. What the tests launch needs an image of Docker Hub; so the runtime is `fake`, with the real hub and the smallest servers, and
what is tested is everything but the build: six of nine pass. With `--runtime local` the repositories are fetched and refused, since
that runtime builds no Dockerfile: so `test_build_fail` passes, which wants a failure, and those do not that want a server. Not to pass
are `test_versions_handler`, which compares our version with BinderHub's own, and, where there is no network, the one of
`git/https%3A%2F%2Fgithub.com…/HEAD`, which asks github.com itself.
"""

import argparse
import asyncio
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench import stack
from tests.gitrepo import git
from tests.gitserver import GitServer
from tests.listening import Listening
from tests.processes import below, words

OWNER = "binderhub-ci-repos"


def forges(root: Path) -> Starlette:
    """The two forges' interfaces, as far as a commit is asked for."""

    def commit(repository: str, ref: str) -> Response:
        path = root / OWNER / repository
        try:
            return JSONResponse({"sha": (sha := git("rev-parse", "--verify", f"{ref}^{{commit}}", cwd=path)), "id": sha})
        except (RuntimeError, OSError):
            return JSONResponse({"message": "No commit found for SHA"}, 404)

    async def github(request: Request) -> Response:
        return commit(request.path_params["repository"], request.path_params["ref"])

    async def gitlab(request: Request) -> Response:
        return commit(unquote(request.path_params["project"]).rpartition("/")[2], unquote(request.path_params["ref"]))

    return Starlette(routes=[
        Route(f"/repos/{OWNER}/{{repository}}/commits/{{ref:path}}", github),
        Route("/projects/{project:path}/repository/commits/{ref:path}", gitlab),
    ])


async def main() -> int:
    """Run them; the exit status of pytest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="of BinderHub")
    parser.add_argument("copies", type=Path, help="directory with copies of the two repositories, by their names")
    parser.add_argument("--python", default="python", help="that has what BinderHub's tests need")
    parser.add_argument("--runtime", default="fake", choices=("fake", "local"))
    args, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for copy in sorted(args.copies.iterdir()):
            git("clone", "-q", "--mirror", str(copy.resolve()), str(root / OWNER / copy.name))
        with GitServer(root) as served:
            async with Listening(forges(root)) as api:
                settings = {
                    "DOCKYARD_RUNTIME_NAME": args.runtime, "DOCKYARD_PROVIDERS_GITHUB_HOST": served.address,
                    "DOCKYARD_PROVIDERS_GITHUB_API": api.at(""), "DOCKYARD_PROVIDERS_GITLAB_HOST": served.address,
                    "DOCKYARD_PROVIDERS_GITLAB_API": api.at(""), "DOCKYARD_EGRESS_PRIVATE": "true", **stack.UNLIMITED,
                }
                return await asyncio.to_thread(_run, args, more, settings)


def _run(args: argparse.Namespace, more: list[str], settings: dict[str, str]) -> int:
    with stack.running(settings, hub=None) as started:
        command = [args.python, "-m", "pytest", "-m", "remote", "-p", "no:cacheprovider", "-rfE", "--tb=line", *more, "binderhub/tests"]
        try:
            return subprocess.run(command, cwd=args.checkout, env={**os.environ, "BINDER_URL": started.url}, check=False).returncode
        finally:
            for process in below(started.tree.up):
                with suppress(psutil.Error):
                    if any("trivial_server" in word for word in words(process)):
                        process.kill()  # it would outlive its hub


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
