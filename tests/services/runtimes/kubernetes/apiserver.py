"""A Kubernetes API server of one process: pods, their logs and watches, and everything that goes wrong on purpose.

It keeps the rules that a client depends on: names are taken, versions rise with every change, a watch begins after a
version and sends what happened since, old versions are forgotten (410), a log is read from its beginning.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Pod = dict[str, Any]


@dataclass
class Failing:
    """Answers that the next requests of a method get instead of the true ones."""

    method: str
    status: int
    message: str = "on purpose"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    path: str = ""  # only paths that hold this


class ApiServer:
    """The state of the cluster, and the verbs by which a test is the kubelet."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.configmaps: dict[str, str] = {}  # names and their uids
        self.nodes: list[dict[str, Any]] = []
        self.logs: dict[str, bytearray] = {}
        self.failing: list[Failing] = []
        self.seen: list[tuple[str, str]] = []  # method and path with query
        self.version = 1000
        self.forgotten = 0  # versions up to this one are too old to watch from
        self.page = 500  # objects of one answer, whatever is asked for
        self.born: dict[str, Any] = {}  # more of the status that a pod has from its beginning
        self.silent = False  # watches send nothing although things happen
        self.url = ""
        self._events: list[tuple[int, dict[str, Any]]] = []
        self._news = asyncio.Condition()
        self._cut = 0

    # -- the kubelet's side -----------------------------------------------------------------------------------

    async def set(self, name: str, **status: Any) -> None:
        """Change a pod's status."""
        pod = self.pods[name]
        pod["status"] = {**pod.get("status", {}), **status}
        await self._happened("MODIFIED", pod)

    async def container(self, name: str, state: dict[str, Any], **status: Any) -> None:
        """Change the state of a pod's container, as `{"running": {}}`."""
        await self.set(name, containerStatuses=[{"name": "build", "state": state}], **status)

    async def say(self, name: str, *lines: str) -> None:
        """Write into a pod's log."""
        self.logs.setdefault(name, bytearray()).extend("".join(lines).encode())
        async with self._news:
            self._news.notify_all()

    async def end(self, name: str, code: int = 0, message: str = "", **more: Any) -> None:
        """End a pod's container."""
        terminated = {"exitCode": code, "message": message, **more}
        await self.container(name, {"terminated": terminated}, phase="Failed" if code else "Succeeded")

    async def drop(self, name: str) -> None:
        """Delete a pod, whoever asks."""
        pod = self.pods.pop(name)
        self.logs.pop(name, None)
        await self._happened("DELETED", pod)

    async def cut(self) -> None:
        """Break every open watch and log."""
        self._cut += 1
        async with self._news:
            self._news.notify_all()

    async def made(self, name: str) -> Pod:
        """Wait until a pod of this name exists."""
        async with self._news:
            await self._news.wait_for(lambda: name in self.pods)
        return self.pods[name]

    async def asked(self, words: str, times: int = 1) -> None:
        """Wait until a request whose method and path hold these words has come so often."""
        async with self._news:
            await self._news.wait_for(lambda: sum(words in f"{m} {p}" for m, p in self.seen) >= times)

    async def _happened(self, kind: str, pod: Pod) -> None:
        self.version += 1
        pod["metadata"]["resourceVersion"] = str(self.version)
        if not self.silent:
            self._events.append((self.version, {"type": kind, "object": deepcopy(pod)}))
        async with self._news:
            self._news.notify_all()

    # -- the server -------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["ApiServer"]:
        """Listen on loopback for the length of a block."""
        app = web.Application(middlewares=[self._middleware])
        root = "/api/v1/namespaces/{namespace}/pods"
        app.add_routes([
            web.get("/api/v1/nodes", self._list_nodes), web.get(root, self._list), web.post(root, self._create),
            web.get(root + "/{name}", self._get), web.delete(root + "/{name}", self._delete), web.get(root + "/{name}/log", self._log),
            web.post(root.replace("/pods", "/secrets"), self._create_secret),
            web.get(root.replace("/pods", "/configmaps") + "/{name}", self._get_configmap),
        ])
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await self.cut()
            await runner.cleanup()

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append((request.method, request.path_qs))
        async with self._news:
            self._news.notify_all()
        for failing in self.failing:
            if failing.times and failing.method == request.method and failing.path in request.path_qs:
                failing.times -= 1
                return _status(failing.status, failing.message, failing.headers)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _list_nodes(self, request: web.Request) -> web.Response:
        return web.json_response({"items": self.nodes, "metadata": {"resourceVersion": str(self.version)}})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            return await self._watch(request)
        labels = dict(part.split("=") for part in request.query.get("labelSelector", "").split(",") if part)
        found = [p for p in self.pods.values() if labels.items() <= p["metadata"].get("labels", {}).items()]
        first, limit = int(request.query.get("continue") or 0), min(self.page, int(request.query.get("limit") or 500))
        more = {"continue": str(first + limit)} if len(found) > first + limit else {}
        return web.json_response({"items": found[first : first + limit], "metadata": {"resourceVersion": str(self.version), **more}})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        at, cut = int(request.query["resourceVersion"]), self._cut
        response = web.StreamResponse()
        await response.prepare(request)
        if at <= self.forgotten:
            body = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
            await response.write(json.dumps(body).encode() + b"\n")
            return response
        while True:
            for version, event in [e for e in self._events if e[0] > at]:
                await response.write(json.dumps(event).encode() + b"\n")
                at = version
            async with self._news:
                await self._news.wait_for(lambda at=at: self._cut != cut or any(v > at for v, _ in self._events))
            if self._cut != cut:
                return response

    async def _create(self, request: web.Request) -> web.Response:
        pod = await request.json()
        name = pod["metadata"]["name"]
        if name in self.pods:
            return _status(409, f'pods "{name}" already exists')
        pod["metadata"]["uid"] = f"uid-{self.version}"
        pod["status"] = {"phase": "Pending", **self.born}
        self.pods[name] = pod
        await self._happened("ADDED", pod)
        return web.json_response(pod, status=201)

    async def _create_secret(self, request: web.Request) -> web.Response:
        secret = await request.json()
        name = secret["metadata"]["name"]
        if name in self.secrets:
            return _status(409, f'secrets "{name}" already exists')
        self.secrets[name] = secret
        return web.json_response(secret, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        pod = self.pods.get(request.match_info["name"])
        return web.json_response(pod) if pod else _status(404, "not found")

    async def _get_configmap(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        uid = self.configmaps.get(name)
        return web.json_response({"metadata": {"name": name, "uid": uid}}) if uid else _status(404, "not found")

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.pods:
            return _status(404, "not found")
        await self.drop(name)
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _log(self, request: web.Request) -> web.StreamResponse:
        name, cut, sent = request.match_info["name"], self._cut, 0
        if name not in self.pods:
            return _status(404, "not found")
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            text = bytes(self.logs.get(name, b""))
            if len(text) > sent:
                await response.write(text[sent:])
                sent = len(text)
            pod = self.pods.get(name)
            if not request.query.get("follow") or pod is None or pod["status"]["phase"] in ("Succeeded", "Failed"):
                return response

            def more(had: int = sent) -> bool:
                pod = self.pods.get(name)
                ended = pod is None or pod["status"]["phase"] in ("Succeeded", "Failed")
                return ended or self._cut != cut or len(self.logs.get(name, b"")) > had

            async with self._news:
                await self._news.wait_for(more)
            if self._cut != cut:
                return response


def _status(code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"kind": "Status", "status": "Failure", "code": code, "message": message}, status=code, headers=headers)
