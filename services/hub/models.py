"""What the hub says of users, servers and their starting, in our words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.hub.verdict import Verdict, verdict_of


@dataclass(frozen=True, slots=True)
class UserOptions:
    """What a launch tells its server; every deployment of BinderHub's spawner reads the same keys."""

    image: str
    token: str  # whoever has it may use the server
    repo_url: str
    binder_ref_url: str
    binder_launch_host: str
    binder_request: str  # such as "v2/gh/o/r/HEAD"
    binder_persistent_request: str  # the same with the commit
    binder_client_ip: str
    extra: Mapping[str, Any] = field(default_factory=dict)  # keys of ours, such as {"environment": {…}}

    def body(self) -> bytes:
        """The request body that starts a server with these."""
        keys = [key for key in self.__slots__ if key != "extra"]
        return json.dumps({**self.extra, **{key: getattr(self, key) for key in keys}}).encode()


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, starts or stops."""

    ready: bool
    pending: str  # "", or what the hub is doing with it: spawn, stop, check
    url: str  # path below the hub's address, such as /user/name/
    started: datetime | None
    last_activity: datetime | None


@dataclass(frozen=True, slots=True)
class User:
    """A user of the hub; `server` is the unnamed one and None where none is active."""

    name: str
    created: datetime | None
    last_activity: datetime | None
    server: Server | None


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of a starting server; the last one is ready or failed."""

    message: str
    percent: int | None = None
    ready: bool = False
    failed: bool = False
    url: str = ""  # of a ready server: path below the hub's address, or whole where the hub uses subdomains
    verdict: Verdict | None = None  # of a failed one


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def user_of(model: Mapping[str, Any]) -> User:
    """A user from the API's model of one."""
    found = model.get("servers", {}).get("")
    server = None
    if found and (found["ready"] or found["pending"]):
        server = Server(
            bool(found["ready"]), found["pending"] or "", found["url"], _time(found["started"]), _time(found["last_activity"])
        )
    return User(model["name"], _time(model.get("created")), _time(model.get("last_activity")), server)


def progress_of(data: bytes) -> Progress:
    """A step from the `data` of an event of the API."""
    event = json.loads(data)
    message = event.get("message") or ""
    if event.get("failed"):
        sentence = message.removeprefix("Spawn failed: ").strip()
        return Progress(sentence, failed=True, verdict=verdict_of(event.get("html_message") or ""))
    return Progress(message, event.get("progress"), ready=bool(event.get("ready")), url=event.get("url", ""))
