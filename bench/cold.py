"""`bench cold`: from nothing to a server, step by step, each as long as a user waits for it.

A fresh clone is made and `./dockyard up` started in it with an empty HOME: once with the installation, then
again without. On the second one a repository with a requirements.txt is launched from a git server on this
machine: for the first time (the environment is built), the same commit again, and commits that change a
notebook only.
"""

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx

from bench import machine, stack
from bench.ports import free_ports
from bench.report import Report
from cli.embedded.child import dies_with_us
from dockyard_client import Client, ClientError
from tests.gitserver import GitServer, Repo

REQUIREMENTS = "six==1.17.0\n"
NOTEBOOK = '{{"cells": [], "metadata": {{"n": {n}}}, "nbformat": 4, "nbformat_minor": 5}}'


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.set_defaults(runs=5)
    parser.add_argument("--requirements", default=REQUIREMENTS, help="text of the repository's requirements.txt")
    parser.add_argument("--no-install", action="store_true", help="use this checkout instead of a fresh clone")


def bench(args: argparse.Namespace) -> Report:
    """Measure; `runs` counts the launches, the installation is made once."""
    report = Report("cold", machine.describe())
    with tempfile.TemporaryDirectory(prefix="dockyard-cold-") as name:
        root = Path(name)
        root.chmod(0o755)
        checkout = stack.CHECKOUT
        if not args.no_install:
            checkout = root / "clone"
            subprocess.run(["git", "clone", "-q", str(stack.CHECKOUT), str(checkout)], check=True)
            with _up(checkout, root / "home") as (_, seconds):
                report.add("healthy, with installation", "s", [seconds])
            report.check("installed and healthy within 120 s", seconds <= 120)
            shutil.rmtree(root / "home")  # what comes now is a first start again, only without the installation
        with _up(checkout, root / "home") as (_, seconds):
            report.add("healthy, new home", "s", [seconds])
        with _up(checkout, root / "home") as (url, seconds):
            report.add("healthy, second time", "s", [seconds])
            report.check("healthy within 8 s the second time", seconds <= 8)
            _launches(args, report, url, root / "git")
    return report


def _launches(args: argparse.Namespace, report: Report, url: str, root: Path) -> None:
    root.mkdir()
    repo = Repo.create(root, "repo.git")
    repo.commit({"requirements.txt": args.requirements, "index.ipynb": NOTEBOOK.format(n=0)})
    with GitServer(root) as git, Client(url) as client:
        spec = f"{quote(git.url('repo.git'), safe='')}/HEAD"
        report.add("first launch (environment built)", "s", [_launch(client, spec)])
        again = [_launch(client, spec) for _ in range(args.runs)]
        report.add("the same commit again", "s", again)
        changed = []
        for n in range(args.runs):
            repo.commit({"index.ipynb": NOTEBOOK.format(n=n + 1)})
            changed.append(_launch(client, spec))
        report.add("a commit that changes a notebook", "s", changed)
    report.check("the same commit again within 3 s", report.figures[-2].median <= 3)
    report.check("a changed notebook within 4 s", report.figures[-1].median <= 4)


def _launch(client: Client, spec: str) -> float:
    """Seconds until `ready`; the server is stopped again. Raises `ClientError` with the reason of a failure."""
    begun = time.monotonic()
    launch = client.launches.create(provider="git", spec=spec)
    found = client.launches.wait(launch.id)
    took = time.monotonic() - begun
    if found.state != "ready" or found.url is None:
        raise ClientError(f"The launch ended as {found.state}: {found.reason}.")
    answer = httpx.get(f"{found.url}api/status", params={"token": found.token}, trust_env=False)
    answer.raise_for_status()
    client.launches.stop(launch.id)
    return took


@contextmanager
def _up(checkout: Path, home: Path) -> Iterator[tuple[str, float]]:
    """`./dockyard up` as a user types it; its address, and the seconds until it was healthy."""
    port = free_ports()
    empty = home.with_name("empty")
    empty.mkdir(exist_ok=True)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKYARD_", "VIRTUAL_ENV", "PYTHON"))}
    environ |= {"HOME": str(empty), "DOCKYARD_HOME": str(home)}
    log = home.with_name("up.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["./dockyard", "up", "--port", str(port)], cwd=checkout, env=environ, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
            preexec_fn=dies_with_us(signal.SIGTERM, os.getpid()),  # noqa: PLW1509 - no other thread is running
        )
    try:
        url = f"http://127.0.0.1:{port}"
        yield url, stack.wait_healthy(url, process, log, patience=600)
    finally:
        stack.end(process)
