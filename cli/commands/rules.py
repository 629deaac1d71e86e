"""`dockyard rules`, `pause` and `resume`: what may be launched, asked of the running front door with the admin token."""

import sys
from typing import Any

import httpx
import typer

from cli.commands.launches import reach
from cli.embedded.story import fail

_UNITS = {"m": 60, "h": 3600, "d": 86400}


def _ask(url: str, token: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer's body; what is refused becomes a sentence and exit status 1."""
    address, token = reach(url, token)
    try:
        answer = httpx.request(
            method, f"{address.rstrip('/')}/api/v1/admin/{path}", json=body, timeout=30,
            headers={"authorization": f"Bearer {token}"} if token else {},
        )
        found = answer.json() if answer.content else {}
    except (httpx.HTTPError, ValueError) as error:
        fail(f"{address}: no Dockyard answers there ({error}).")
        raise typer.Exit(1) from error
    if answer.status_code >= 400:
        fail(f"{address}: {found.get('detail', answer.reason_phrase)}")
        raise typer.Exit(1)
    return found


def span(text: str) -> float | None:
    """Seconds of `90`, `30m`, `12h` or `7d`; None for an empty text."""
    if not text:
        return None
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1] in _UNITS else (text, 1)
    try:
        return float(number) * unit
    except ValueError as error:
        raise typer.BadParameter(f"--for {text}: write seconds, or 30m, 12h, 7d.") from error


def listed(url: str, token: str) -> int:
    """Print the rules, one a line."""
    items = _ask(url, token, "GET", "rules")["items"]
    for rule in items:
        quota = f" {rule['quota']}" if rule["quota"] is not None else ""
        until = f"  until {rule['expires_at'][:16]}" if rule["expires_at"] else ""
        print(f"{rule['id']}  {rule['kind']}{quota}  {rule['pattern']}{until}  {rule['message']}".rstrip())
    if not items:
        print("No rules but those of the settings.", file=sys.stderr)
    return 0


def add(kind: str, pattern: str, message: str, quota: int | None, lasts: str, url: str, token: str) -> int:
    """Make a rule and print its id."""
    wanted = {"kind": kind, "pattern": pattern, "message": message, "quota": quota, "seconds": span(lasts)}
    print(_ask(url, token, "POST", "rules", {key: value for key, value in wanted.items() if value is not None})["id"])
    return 0


def remove(rule: str, url: str, token: str) -> int:
    """Remove a rule."""
    if not rule.isalnum():
        raise typer.BadParameter(f"{rule}: write the id that `rules list` shows.")
    _ask(url, token, "DELETE", f"rules/{rule}")
    return 0


def pause(message: str, lasts: str, url: str, token: str) -> int:
    """Accept no launches."""
    seconds = span(lasts)
    found = _ask(url, token, "PUT", "pause", {"message": message, **({"seconds": seconds} if seconds else {})})
    print(f"Paused until {found['until'][:16]}." if found["until"] else "Paused until ./dockyard resume.")
    return 0


def resume(url: str, token: str) -> int:
    """Accept launches again."""
    _ask(url, token, "DELETE", "pause")
    print("Launches are accepted.")
    return 0
