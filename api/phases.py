"""BinderHub's wire words, made of our events. The one place where they stand.

Clients compare phases exactly and show messages as they come, so both are BinderHub's to the letter where
it has them (builder.py and launcher.py of 0.2.0); what is ours goes into further keys, which every known
client ignores.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from services.events import Kind, StoredEvent
from services.states import BuildState

Data = Mapping[str, Any]

_PHASE: dict[str, str] = {
    Kind.WAITING: "waiting", Kind.RESOLVING: "waiting", Kind.NOTICE: "waiting", Kind.BUILDING: "waiting",
    Kind.FOUND: "built", Kind.BUILT: "built", Kind.LAUNCHING: "launching", Kind.PROGRESS: "launching",
    Kind.RETRYING: "launching", Kind.READY: "ready", Kind.DONE: "ready", Kind.FAILED: "failed", Kind.CANCELLED: "failed",
    Kind.ENDING: "ready", Kind.STOPPING: "launching", Kind.STOPPED: "failed",
}


def _reason(data: Data) -> str:
    reason = data.get("reason") or {}
    message, hint = reason.get("message") or "The launch failed.", reason.get("hint") or ""
    return f"{message} {hint}".strip()


_MESSAGE: dict[str, Callable[[Data], str]] = {
    Kind.WAITING: lambda _: "Waiting for a worker...",
    Kind.RESOLVING: lambda data: str(data.get("message") or "Looking up the repository..."),
    Kind.NOTICE: lambda data: str(data["message"]),
    Kind.BUILDING: lambda _: "Waiting for build to start...",
    Kind.FOUND: lambda _: "Found built image, launching...",
    Kind.BUILT: lambda _: "Built image, launching...",
    Kind.LAUNCHING: lambda _: "Launching server...",
    Kind.PROGRESS: lambda data: str(data.get("message", "")),
    Kind.RETRYING: lambda data: f"Launch attempt {data['attempt']} failed, retrying...",
    Kind.READY: lambda data: f"server running at {data['url']}",
    Kind.DONE: lambda data: "Done! Found built image" if data.get("found") else "Done! Image built",
    Kind.FAILED: _reason,
    Kind.CANCELLED: _reason,
    Kind.ENDING: lambda data: str(data["message"]),
    Kind.STOPPING: lambda _: "The server is being stopped...",
    Kind.STOPPED: lambda _: "The server was stopped.",
}
_READY_KEYS = (
    "image", "repo_url", "token", "binder_ref_url", "binder_launch_host", "binder_request", "binder_persistent_request",
    "binder_client_ip", "url",
)


def body(event: StoredEvent, token: Callable[[str], str]) -> dict[str, Any]:
    """The object of one event; `token` gives the token of a server by its id."""
    data, kind = event.data, event.kind
    message = _MESSAGE[kind](data).rstrip("\n")
    found: dict[str, Any] = {"phase": _PHASE[kind], "message": f"{message}\n"}
    if kind == Kind.READY:
        known = {**data, "token": token(data["server"])}
        found |= {key: known.get(key) for key in _READY_KEYS}
    elif kind in (Kind.FOUND, Kind.BUILT, Kind.DONE):
        found["imageName"] = data["image"]
    elif kind in (Kind.FAILED, Kind.CANCELLED):
        found["reason"] = data.get("reason")
    elif kind == Kind.BUILDING:
        found["build"] = data["build"]
    elif kind == Kind.ENDING:
        found |= {"ends_at": data["ends_at"], "why": data["why"]}
    elif "waits" in data:
        found["waits"] = True
    found["kind"], found["state"], found["at"] = kind, event.state, round(event.at, 3)
    return found


def encode(event: StoredEvent, line: int, token: Callable[[str], str]) -> bytes:
    """One event as it goes over the wire; `line` is the number of the last log line before it."""
    return f"id: {event.launch}.{event.seq}.{line}\ndata: {json.dumps(body(event, token))}\n\n".encode()


def encode_end(event: StoredEvent, line: int) -> bytes:
    """The end of a build as it goes over the wire of the build's own stream."""
    phase = event.state if event.state != BuildState.CANCELLED else "failed"
    said = {"phase": phase, "message": "", "state": event.state, "reason": event.data["reason"]}
    return f"id: {event.launch}.{event.seq}.{line}\ndata: {json.dumps(said)}\n\n".encode()


def refusal(status: int | None, message: str, **more: Any) -> bytes:
    """The event with which BinderHub answers what it refuses before a launch begins; without a status where it has none. What is
    ours stands in further keys.
    """
    code = {} if status is None else {"status_code": status}
    return f"data: {json.dumps({'phase': 'failed', **code, 'message': message.rstrip() + chr(10), **more})}\n\n".encode()
