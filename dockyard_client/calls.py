"""Every call of the API, as a conversation; the signatures and docstrings here are those of both clients.

A write that is repeated after a cut must not be done twice: creating a launch carries an idempotency key,
made here when the caller brings none, and deleting is idempotent by itself.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from dockyard_client.decode import one, page
from dockyard_client.follow import binder_ended, build_ended, events, launch_ended
from dockyard_client.models import Build, Event, Launch, Page, Server, Stats
from dockyard_client.talk import Item, Request, Sleep, Talk, call

T = TypeVar("T")
API = "api/v1"


def create_launch(
    link: str | None = None,
    *,
    provider: str | None = None,
    spec: str | None = None,
    build_only: bool = False,
    rebuild: bool = False,
    env: Mapping[str, str] | None = None,
    urlpath: str | None = None,
    subdir: str | None = None,
    environment: str | None = None,
    idempotency_key: str | None = None,
) -> Talk[Any, Launch]:
    """Ask for a launch, by a link as people paste it or by provider and spec; returns at once with its id.

    Args:
        link: address of a repository, a file in one, a launch link or badge, a DOI.
        provider: prefix such as "gh"; together with `spec`, instead of `link`.
        spec: what follows the prefix in a launch link, quoted as there.
        build_only: make the image, start no server.
        rebuild: make the image even if it exists, without any cache.
        env: variables for the server, of those that the service allows.
        urlpath: what to open in the server, such as "lab/tree/index.ipynb".
        subdir: directory of the repository that is built instead of all of it.
        environment: repository that the environment is made of instead, as provider/spec or as a link.
        idempotency_key: the same key gives the same launch; one is made when there is none.

    """
    if (link is None) == (provider is None or spec is None):
        raise ValueError("Give either a link, or a provider and a spec.")
    body: dict[str, Any] = {"link": link} if link is not None else {"provider": provider, "spec": spec}
    options = {"build_only": build_only, "rebuild": rebuild, "env": dict(env or {}), "urlpath": urlpath}
    options |= {"subdir": subdir, "environment": environment}
    body |= {key: value for key, value in options.items() if value}
    headers = {"idempotency-key": idempotency_key or secrets.token_hex(16)}
    return call(Request("POST", f"{API}/launches", json=body, headers=headers), lambda b: one(Launch, b))


def get_launch(launch: str) -> Talk[Any, Launch]:
    """The launch with this id."""
    return call(Request("GET", _path("launches", launch)), lambda b: one(Launch, b))


def list_launches(
    *, state: str | None = None, provider: str | None = None, repo: str | None = None, limit: int | None = None,
    cursor: str | None = None,
) -> Talk[Any, Page[Launch]]:
    """A page of launches, newest first; `repo` is the name for people. Needs the admin scope."""
    request = _list("launches", limit, cursor, state=state, provider=provider, repo=repo)
    return call(request, lambda b: page(Launch, b))


def each_launch(
    *, state: str | None = None, provider: str | None = None, repo: str | None = None
) -> Talk[Launch, None]:
    """All launches, page by page."""
    return _each(lambda cursor: list_launches(state=state, provider=provider, repo=repo, cursor=cursor))


def launch_events(launch: str, after: str = "") -> Talk[Event, None]:
    """The events of a launch and the log of its build, all or those behind `after`, until it has settled."""
    return events(_stream(_path("launches", launch, "events")), after, launch_ended)


def cancel_launch(launch: str) -> Talk[Any, None]:
    """Cancel a launch that is under way, or stop its server; nothing happens to one that has ended."""
    return call(Request("DELETE", _path("launches", launch)), lambda _: None)


def wait_launch(launch: str) -> Talk[Any, Launch]:
    """Wait until a launch has settled; whether it is `ready` or `failed` is in its state."""
    while True:
        yield from launch_events(launch)
        found = yield from get_launch(launch)
        if found.settled:
            return found
        yield Sleep(1.0)  # the stream had ended, yet a retry has opened the launch again


def get_build(build: str) -> Talk[Any, Build]:
    """The build with this id."""
    return call(Request("GET", _path("builds", build)), lambda b: one(Build, b))


def list_builds(
    *, state: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Talk[Any, Page[Build]]:
    """A page of builds, newest first; needs the admin scope."""
    return call(_list("builds", limit, cursor, state=state), lambda b: page(Build, b))


def each_build(*, state: str | None = None) -> Talk[Build, None]:
    """All builds, page by page."""
    return _each(lambda cursor: list_builds(state=state, cursor=cursor))


def build_log(build: str) -> Talk[Any, str]:
    """The log of a build as text, as far as it has come."""
    request = Request("GET", _path("builds", build, "log"), headers={"accept": "text/plain"})
    return call(request, lambda b: b.decode("utf-8", "replace"))


def build_events(build: str, after: str = "") -> Talk[Event, None]:
    """The events and the log of a build, all or those behind `after`, until it has ended."""
    return events(_stream(_path("builds", build, "events")), after, build_ended)


def cancel_build(build: str) -> Talk[Any, None]:
    """Stop a build; every launch that waits for it ends as cancelled. Needs the admin scope."""
    return call(Request("DELETE", _path("builds", build)), lambda _: None)


def list_servers(
    *, state: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Talk[Any, Page[Server]]:
    """A page of servers, newest first, those that run unless `state` says which; needs the admin scope."""
    return call(_list("servers", limit, cursor, state=state), lambda b: page(Server, b))


def each_server(*, state: str | None = None) -> Talk[Server, None]:
    """All servers that run, page by page."""
    return _each(lambda cursor: list_servers(state=state, cursor=cursor))


def stop_server(server: str) -> Talk[Any, None]:
    """Stop a server; needs the admin scope, or the server's own token as the client's."""
    return call(Request("DELETE", _path("servers", server)), lambda _: None)


def stats() -> Talk[Any, Stats]:
    """How much there is of everything."""
    return call(Request("GET", f"{API}/stats"), lambda b: one(Stats, b))


def binder(
    provider: str, spec: str, *, build_only: bool = False, build_token: str | None = None, after: str = ""
) -> Talk[Event, None]:
    """Launch by BinderHub's protocol, on a Dockyard or a BinderHub: its events until `ready` or `failed`.

    `spec` is quoted as in a launch link. `ready` carries `url` and `token` in its data. A cut stream of a
    Dockyard is resumed; of a BinderHub it raises `StreamCut`, because asking again would launch again.
    """
    query = {"build_only": "true"} if build_only else {}
    if build_token is not None:
        query["build_token"] = build_token
    path = f"build/{quote(provider, safe='')}/{quote(spec, safe='/%:@!$&()*+,;=~')}"
    return events(_stream(path, query, safe=False), after, binder_ended)


def _path(kind: str, name: str, *rest: str) -> str:
    if not name:
        raise ValueError("An empty id names nothing.")
    return "/".join((API, kind, quote(name, safe=""), *rest))


def _stream(path: str, query: Mapping[str, str] | None = None, *, safe: bool = True) -> Request:
    headers = {"accept": "text/event-stream", "cache-control": "no-cache"}
    return Request("GET", path, query or {}, headers=headers, stream=True, safe=safe)


def _list(kind: str, limit: int | None, cursor: str | None, **where: str | None) -> Request:
    query = {**where, "limit": None if limit is None else str(limit), "cursor": cursor}
    return Request("GET", f"{API}/{kind}", {key: value for key, value in query.items() if value is not None})


def _each(turn: Callable[[str | None], Talk[Any, Page[T]]]) -> Talk[T, None]:
    cursor: str | None = None
    while True:
        found = yield from turn(cursor)
        for item in found.items:
            yield Item(item)
        cursor = found.next
        if cursor is None:
            return
