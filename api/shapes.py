"""From rows to the bodies of the API: what is shown of a launch, a build, a server, and to whom."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from api.bodies import Build, Launch, Reason, Server
from services.errors import BadRequest
from services.names import server_id
from services.secrets import Secret
from services.states import BUILD_ENDED
from services.usecases.pace import Span
from services.usecases.read import LaunchView

Row = TypeVar("Row", Launch, Build, Server)
_ID = re.compile(r"[0-9a-f]{32}")
_STOPPED = {
    "idle": "The server was stopped because nobody used it.", "max-age": "The server was stopped because its time was over.",
    "user": "The server was stopped on request.", "lost": "The server is gone.",
    "unopened": "The server was stopped because nobody opened it.",
    "abandoned": "It was cancelled because nobody watched it any more.",
}
_LAUNCH = ("id", "state", "target", "provider", "spec", "repo", "created_at", "ref", "resolved_ref", "ref_url", "repo_url",
           "image", "build", "attempt", "build_only")
_BUILD = ("id", "state", "image", "repo_url", "created_at", "attempt", "generation", "environment", "lines", "started_at",
          "ended_at")


def _reason(row: Mapping[str, Any]) -> Reason | None:
    if row["reason"]:
        return Reason(**{key: str(row["reason"].get(key) or "") for key in ("code", "message", "hint")})
    stopped = row.get("stop_reason")
    return Reason(code=stopped, message=_STOPPED.get(stopped, "")) if stopped else None


def launch(row: Mapping[str, Any], **more: Any) -> Launch:
    """A launch without what opens its server: for lists."""
    options = row["options"] or {}
    return Launch(
        **{key: row[key] for key in _LAUNCH}, subdir=row["subdir"] or "", environment=row["environment_link"] or "",
        environment_ref=(row["environment_source"] or {}).get("commit"), urlpath=str(options.get("urlpath") or ""),
        reason=_reason(row), **more,
    )


def held_launch(view: LaunchView, secret: Secret, its_build: Build | None, left: Span | None) -> Launch:
    """A launch for whoever holds its id: with the server's address and token while it is ready; `left` until it is."""
    row = view.row
    more: dict[str, Any] = {}
    if row["state"] == "ready":
        more = {"url": row["url"], "token": secret.server_token(server_id(row["id"], row["attempt"]))}
        if view.ends is not None:
            more |= {"ends_at": view.ends.at, "ends_why": view.ends.why, "ends_soon": view.ends.told}
    if left is not None:
        more |= {
            "estimate_seconds": round(left.usual, 1), "estimate_low": round(left.low, 1), "estimate_high": round(left.high, 1)}
    return launch(
        row, timings=dict(view.timings), steps=_steps(view.timings, its_build),
        position=None if view.position is None else view.position + 1, waits=view.waits,
        build_state=its_build.state if its_build and row["state"] == "building" else None, **more,
    )


def _steps(spent: Mapping[str, float], its_build: Build | None) -> dict[str, float]:
    """From states to steps. Whoever has joined a build late has waited for a part of it only."""
    found = {"resolve": spent.get("waiting", 0.0) + spent.get("resolving", 0.0)}
    if "building" in spent:
        pushed = its_build.timings.get("pushing") if its_build else None
        push = None if pushed is None else min(pushed, spent["building"])
        found["build"] = spent["building"] - (push or 0.0)
        if push is not None:
            found["push"] = push
    if "launching" in spent:
        found["launch"] = spent["launching"]
    return {name: round(seconds, 3) for name, seconds in found.items()}


def build(row: Mapping[str, Any], now: datetime | None = None) -> Build:
    """A build; `now` by the database's clock, where it may be under way and its timings are wanted."""
    return Build(**{key: row[key] for key in _BUILD}, ref=row["commit"], reason=_reason(row), timings=_build_timings(row, now))


def _build_timings(row: Mapping[str, Any], now: datetime | None) -> dict[str, float]:
    """Seconds by state, out of the moments at which the states were reached."""
    end = row["ended_at"] or now
    if end is None:
        return {}
    reached = sorted(
        (at, state) for state, at in {"queued": row["created_at"].timestamp(), **row["marks"]}.items() if state not in BUILD_ENDED)
    until = [at for at, _ in reached[1:]] + [end.timestamp()]
    return {state: round(max(0.0, then - at), 3) for (at, state), then in zip(reached, until, strict=True)}


def server(row: Mapping[str, Any]) -> Server:
    """A server."""
    return Server(
        id=row["id"], state=row["state"], image=row["image"], launch=row["launch"], user=row["user_name"],
        started_at=row["started_at"], last_activity=row["last_activity"],
    )


def unkeyed(rows: Sequence[Row], secret: Secret) -> list[Row]:
    """For the read scope: other ids, since whoever knows an id may see, open and stop what has it. The same id each time."""
    def other(value: str | None) -> str | None:
        return value and secret.derive("unkeyed", value).hex()[:32]

    return [row.model_copy(update={
        name: other(getattr(row, name)) for name in ("id", "build", "launch", "user") if hasattr(row, name)}) for row in rows]


def cursor(at: datetime, row_id: str) -> str:
    """Where the next part of a list begins: opaque to clients."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[datetime, str]:
    """The time and id of the last row seen; raises `BadRequest`."""
    try:
        at, _, row_id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(" ")
        found = datetime.fromisoformat(at)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("This cursor is not one of ours.") from error
    if found.tzinfo is None or not _ID.fullmatch(row_id):
        raise BadRequest("This cursor is not one of ours.")
    return found, row_id
