"""The commands that talk to a running Dockyard: launch, build, status, logs, stop.

The address is `--url`, else that of the `up` that runs on the default home, else 127.0.0.1:8000. The admin token of that
home is used where this account may read it and the address is its own.
"""

import contextlib
import json
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import typer

from cli.embedded.home import default_path
from cli.embedded.story import fail
from dockyard_client import Client, ClientError, Event, Launch

FALLBACK = "http://127.0.0.1:8000/"


@contextlib.contextmanager
def _client(url: str, token: str) -> Iterator[Client]:
    """A client of the address; its errors become a sentence and exit status 1."""
    chosen, token = reach(url, token)
    try:
        with Client(chosen, token or None) as client:
            yield client
    except ClientError as error:
        fail(f"{chosen}: {error}")
        raise typer.Exit(1) from error


def reach(url: str, token: str) -> tuple[str, str]:
    """The address that is meant, and the token for it."""
    address, secret = _server(default_path())
    chosen = url or address
    if urlsplit(chosen).scheme not in ("http", "https"):
        raise typer.BadParameter(f"--url {chosen}: write http://host:port/.")
    if not token and urlsplit(chosen).netloc == urlsplit(address).netloc:
        token = secret
    return chosen, token


def _server(home: Path) -> tuple[str, str]:
    """Address and admin token of the embedded Dockyard of this home, as far as they can be read."""
    try:
        address = str(json.loads((home / "up.json").read_text())["address"])
    except (OSError, ValueError, KeyError):
        return FALLBACK, ""
    with contextlib.suppress(OSError):
        return address, (home / "secret/admin-token").read_text().strip()
    return address, ""


def launch(link: str, url: str, token: str, *, build_only: bool = False, open_it: bool = False) -> int:
    """Launch a link, show its steps and the log of its build, print the address alone on stdout."""
    with _client(url, token) as client:
        made = client.launches.create(link, build_only=build_only)
        print(f"launch {made.id}", file=sys.stderr)
        phase = ""
        for event in client.launches.events(made.id):
            phase = _show(event, phase)
        found = client.launches.get(made.id)
    if found.state == "done":
        print(found.image)
        return 0
    if found.state == "ready" and found.location:
        print(found.location)
        if open_it:
            webbrowser.open(found.location)
        return 0
    fail(_reason(found))
    return 1


def _show(event: Event, phase: str) -> str:
    """Print an event: a heading for a new phase, the text as it comes. No token is printed here."""
    if event.phase != phase and event.phase not in ("", "unknown"):
        phase = event.phase
        print(f"== {phase}", file=sys.stderr)
    if event.phase not in ("ready", "failed") and event.message:
        end = "" if event.message.endswith("\n") or event.phase in ("fetching", "building", "pushing") else "\n"
        print(event.message, end=end, file=sys.stderr, flush=True)
    return phase


def _reason(found: Launch) -> str:
    """How a launch ended, in words."""
    if found.reason is None:
        return f"The launch is {found.state}."
    return " ".join(part for part in (found.reason.message or found.reason.code, found.reason.hint) if part)


def status(launch_id: str, url: str, token: str) -> int:
    """Print one launch in full, or a line for each."""
    with _client(url, token) as client:
        if launch_id:
            _print_launch(client.launches.get(launch_id))
            return 0
        print(f"{'id':<34}{'state':<11}{'created':<18}link")
        for found in client.launches.list(limit=50).items:
            created = found.created_at.astimezone().strftime("%m-%d %H:%M:%S")
            print(f"{found.id:<34}{found.state:<11}{created:<18}{found.provider}/{found.spec}")
    return 0


def _print_launch(found: Launch) -> None:
    rows = {
        "id": found.id, "state": found.state, "link": f"{found.provider}/{found.spec}", "repository": found.repo_url,
        "commit": found.resolved_ref, "image": found.image, "build": found.build, "position in the queue": found.position,
        "address": found.location, "reason": _reason(found) if found.reason else None,
        "timings": ", ".join(f"{state} {seconds:.1f} s" for state, seconds in found.timings.items()),
    }
    for name, value in rows.items():
        if value not in (None, ""):
            print(f"{name:<22}{value}")


def logs(launch_id: str, url: str, token: str, *, follow: bool) -> int:
    """Print the log of a launch's build (or of a build, by its own id)."""
    with _client(url, token) as client:
        if follow:
            for event in client.launches.events(launch_id):
                if event.phase not in ("ready", "waiting"):
                    print(event.message, end="" if event.message.endswith("\n") else "\n", flush=True)
            return 0
        found = client.launches.get(launch_id)
        if found.build is None:
            fail("This launch has had no build: its image was there.")
            return 1
        print(client.builds.log(found.build), end="")
    return 0


def stop(launch_id: str, url: str, token: str) -> int:
    """Cancel a launch or stop its server."""
    with _client(url, token) as client:
        client.launches.stop(launch_id)
        print(f"launch {launch_id} is asked to stop", file=sys.stderr)
    return 0
