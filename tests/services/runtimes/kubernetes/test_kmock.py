"""The builder against a mock API server that others wrote (kmock): its answers are given, its rules are not ours.

`apiserver` keeps the state of a cluster and is ours; a mistake that we make about Kubernetes could be in both it and the client.
Here each answer is spelled out as a real server sends it.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import kmock
import pytest

from services.runtimes.base import Exit
from services.runtimes.kubernetes.objects import BUILD, INSTANCE
from tests.services.runtimes.kubernetes.test_builder import JOB, Builders, followed, text

Server = kmock.RawHandler
PODS = "/api/v1/namespaces/builds/pods"
POD = f"{PODS}/{JOB.handle}"


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    """The body of a refusal."""
    return {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": message}


def pod(version: int, state: dict[str, Any], phase: str = "Running") -> dict[str, Any]:
    """The build's pod as the server shows it."""
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": JOB.handle, "namespace": "builds", "uid": "u1", "resourceVersion": str(version),
                     "labels": {INSTANCE: "dockyard", BUILD: JOB.id}},
        "status": {"phase": phase, "containerStatuses": [{"name": "build", "state": state}]},
    }


RUNNING = pod(11, {"running": {}})
ENDED = pod(12, {"terminated": {"exitCode": 0, "reason": "Completed"}}, "Succeeded")




@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """The mock, listening, on which nothing exists. `settings_of` and `builders` lead to it."""
    async with kmock.RawHandler() as handler, kmock.Server(handler):
        handler[kmock.method.GET, "/api/v1/nodes"] << {"items": [], "metadata": {}}
        yield handler


def line(kind: str, value: dict[str, Any]) -> bytes:
    """An event of a watch."""
    return json.dumps({"type": kind, "object": value}).encode() + b"\n"


def listed(server: Server, *answers: tuple[dict[str, Any], ...]) -> None:
    """Lists show these pods, one answer after the other and the last again."""
    left = list(answers)

    def show() -> dict[str, Any]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return {"metadata": {"resourceVersion": str(20 + len(left))}, "items": list(found)}

    server["get", PODS, kmock.action.LIST] << show


def log_of(server: Server, *lines: bytes) -> None:
    """The pod's log is this, whoever reads it."""
    server["get", f"{POD}/log"] << (lambda: lines)


async def test_conflict_adopts_what_runs(server: Server, builders: Builders) -> None:
    """409 at the creation: the pod that is there is followed to its end; its log comes whole."""
    server["post", PODS] << 409 << status(409, "AlreadyExists", "pods already exists")
    server["get", POD][:1] << RUNNING
    server["get", POD] << ENDED
    log_of(server, b"one\n", b"two\n")
    listed(server, (RUNNING,))
    server["get", PODS, kmock.action.WATCH] << (line("MODIFIED", ENDED), ...)
    items = await followed(builders())
    assert text(items) == ["one\n", "two\n"]
    assert items[-1] == Exit(ok=True)


async def test_a_role_that_is_not_enough(server: Server, builders: Builders) -> None:
    """403 is told with the server's words, and not asked for again."""
    made = server["post", PODS] << 403 << status(403, "Forbidden", 'pods is forbidden: User "x" cannot create resource "pods"')
    listed(server, ())
    items = await followed(builders())
    assert isinstance(items[-1], Exit)
    assert not items[-1].ok
    assert "cannot create resource" in items[-1].reason
    assert len(list(made)) == 1


async def test_patience_is_what_the_server_asked_for(server: Server, builders: Builders) -> None:
    """429 with Retry-After, as priority and fairness send it, is asked again."""
    busy = status(429, "TooManyRequests", "too many requests, please try again later")
    refused = server["post", PODS][:2] << 429 << kmock.headers({"Retry-After": "0"}) << busy
    server["post", PODS] << 201 << RUNNING
    server["get", POD] << RUNNING
    log_of(server, b"one\n")
    listed(server, (RUNNING,))
    server["get", PODS, kmock.action.WATCH] << (line("MODIFIED", ENDED), ...)
    assert (await followed(builders()))[-1] == Exit(ok=True)
    assert len(list(refused)) == 2


async def test_a_version_that_is_gone_is_listed_anew(server: Server, builders: Builders) -> None:
    """410 as an event of a watch that was accepted: a new list, which holds what the watch has missed."""
    server["post", PODS] << 201 << RUNNING
    server["get", POD] << RUNNING
    log_of(server, b"one\n")
    listed(server, (RUNNING,), (ENDED,))
    gone = server["get", PODS, kmock.action.WATCH][:1] << (line("ERROR", status(410, "Expired", "too old resource version: 21 (30)")),)
    assert (await followed(builders()))[-1] == Exit(ok=True)
    assert len(list(gone)) == 1


async def test_a_watch_that_ends_goes_on_where_it_was(server: Server, builders: Builders) -> None:
    """A dropped watch asks again from the last version that it has seen."""
    server["post", PODS] << 201 << RUNNING
    server["get", POD] << RUNNING
    log_of(server, b"one\n")
    listed(server, (RUNNING,))
    server["get", PODS, kmock.action.WATCH][:1] << (line("MODIFIED", pod(57, {"running": {}})),)
    last = pod(58, {"terminated": {"exitCode": 0}}, "Succeeded")
    again = server["get", PODS, kmock.action.WATCH] << (line("MODIFIED", last), ...)
    assert (await followed(builders()))[-1] == Exit(ok=True)
    assert [request.params["resourceVersion"] for request in again] == ["57"]
