"""The chart, installed on the cluster (see `cluster`) with images made here, and what a user and an operator do with it.

The user servers' base image is one of the local engine, which builds find in the bundled registry under Docker Hub's name.
Builds have a namespace that the chart makes, servers one that was there before; volumes are directories of the node.
"""

import asyncio
import base64
import json
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import helm_python
import httpx

from services.registry import Reference, Registry
from services.settings import RegistrySettings
from tests.deploy.helm.cluster import SERVER, TAG, kubectl
from tests.deploy.helm.rendered import CHART
from tests.gitserver import GitServer, Repo
from tests.services.runtimes.docker import lab
from tests.stack import Stream

HOST = {"host": "127.0.0.1:8000"}
OVER = ("ready", "failed")
SMALL: dict[str, Any] = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
VOLUMES = ("data-dockyard-postgresql-0", "data-dockyard-registry-0", "dockyard-hub")  # names of their claims
KINDS = (
    "deployment,statefulset,daemonset,service,configmap,secret,job,pod,pvc,role,rolebinding,networkpolicy,serviceaccount,pdb,hpa,"
    "ingress,resourcequota"
)


class Release:
    """One installation in namespaces of its own, and a git server beside it."""

    def __init__(self, directory: Path) -> None:
        self.namespace = f"dy-{secrets.token_hex(3)}"
        self.builds, self.users = f"{self.namespace}-builds", f"{self.namespace}-users"
        self.port = 30000 + secrets.randbelow(2700)
        self.directory, self.repositories = directory, directory / "repositories"
        self.repositories.mkdir()
        self.git = GitServer(self.repositories, host=lab.gateway())
        self._built = ""

    # -- the operator's side ---------------------------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """deploy/helm/values/try.yaml for a small machine: local images, namespaces apart, two front doors, a runtime class."""
        never: dict[str, Any] = {"tag": TAG, "pullPolicy": "Never"}
        persistence = {"enabled": True, "size": "1Gi", "storageClass": self.namespace}
        kept: dict[str, Any] = {"enabled": True, "pullPolicy": "Never", "persistence": persistence, "resources": SMALL}
        registry = f"dockyard-registry.{self.namespace}.svc.cluster.local:5000"
        self.registries = (
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry}/hub"\ninsecure = true\n'
            f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        )
        return {
            "image": never, "hubImage": never, "buildImage": never,
            # The stand-in of the database's image starts as root.
            "postgresql": kept | {
                "podSecurityContext": {"runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0},
                "securityContext": {"allowPrivilegeEscalation": True, "readOnlyRootFilesystem": False, "capabilities": {"drop": None}},
            },
            "valkey": {"enabled": True, "pullPolicy": "Never", "resources": SMALL},
            "registry": {"bundled": kept | {"nodePort": self.port}},
            "hub": {"persistence": persistence, "resources": SMALL}, "proxy": {"resources": SMALL},
            "api": {"resources": SMALL, "drainSeconds": 5, "autoscaling": {"enabled": True}},
            **{name: {"replicas": 1, "resources": SMALL, "drainSeconds": 5} for name in ("worker", "launcher", "reaper")},
            "builds": {
                "namespace": self.builds, "createNamespace": True, "scheduleSeconds": 120, "registriesConfigMap": "registries",
                "runtimeClass": self.namespace,
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi", "ephemeral-storage": "10Mi"},
                              "limits": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "10Gi"}},
            },
            "users": {
                "namespace": self.users, "runtimeClass": self.namespace,
                "resources": {"memoryRequest": "64Mi", "memoryLimit": "1Gi", "cpuRequest": 0.01, "cpuLimit": 2},
            },
            "settings": {"egress": {"private": True}, "reaper": {"orphan_age": 20}, "docker": {"uv": True, "base_image": lab.BASE}},
        }

    def prepare(self) -> None:
        """What is there before the chart comes: the users' namespace, volumes, a runtime class (of the engine's usual runtime)."""
        kubectl("create", "namespace", self.users)
        kubectl("apply", "-f", "-", given={
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": self.namespace}, "handler": "docker"})
        for name in VOLUMES:
            self.volume(name)

    def volume(self, name: str) -> None:
        """A new, empty volume for a claim of this name: a directory of the node."""
        kubectl("delete", "pv", f"{self.namespace}-{name}", "--ignore-not-found")
        place = self.directory / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        place.chmod(0o777)
        kubectl("apply", "-f", "-", given={
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{self.namespace}-{name}"},
            "spec": {"storageClassName": self.namespace, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                     "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(place)},
                     "claimRef": {"namespace": self.namespace, "name": name}},
        })

    def install(self) -> None:
        """`helm install`, by the wheel, and wait until every deployment is ready."""
        with helm_python.Config(namespace=self.namespace) as config:
            config.install(str(CHART), "dockyard", self.values(), create_namespace=True)
        kubectl("-n", self.builds, "create", "configmap", "registries", f"--from-literal=mirror.conf={self.registries}")
        kubectl("-n", self.namespace, "wait", "--for=condition=Available", "deployment", "--all", "--timeout=280s")
        name = f"127.0.0.1:{self.port}/hub/library/{lab.BASE.rpartition('/')[2]}"
        lab.docker("tag", lab.BASE, name)
        lab.docker("push", "-q", name)
        lab.docker("rmi", name)
        self.api, self.proxy, self.hub = (self._service(name) for name in ("dockyard-api", "dockyard-proxy", "dockyard-hub"))

    def upgrade(self, values: dict[str, Any]) -> None:
        """`helm upgrade` to other values, and wait until it is done everywhere."""
        with helm_python.Config(namespace=self.namespace) as config:
            config.upgrade(str(CHART), "dockyard", values)
        for name in kubectl("-n", self.namespace, "get", "deployment", "-o", "name").splitlines():
            kubectl("-n", self.namespace, "rollout", "status", name, "--timeout=280s")

    def uninstall(self) -> None:
        """`helm uninstall`, and wait until the pods are gone."""
        with helm_python.Config(namespace=self.namespace) as config:
            config.uninstall("dockyard")
        kubectl("-n", self.namespace, "wait", "--for=delete", "pod", "--all", "--timeout=120s", check=False)

    def left(self, namespace: str) -> list[str]:
        """What there is in a namespace, but for what a cluster puts into each."""
        found = kubectl("-n", namespace, "get", KINDS, "-o", "name").splitlines()
        return [name for name in found if not name.startswith(("serviceaccount/default", "secret/default-token", "configmap/kube-root-ca"))]

    def remove(self) -> None:
        """Remove the release, its namespaces, what `prepare` has made, and the images that were built."""
        with suppress(helm_python.HelmError):
            self.uninstall()
        kubectl("delete", "namespace", self.namespace, self.builds, self.users, "--ignore-not-found", check=False)
        kubectl("delete", "runtimeclass", self.namespace, "--ignore-not-found", check=False)
        kubectl("delete", "pv", *(f"{self.namespace}-{name}" for name in VOLUMES), "--ignore-not-found", check=False)
        for name in VOLUMES:
            shutil.rmtree(self.directory / name, ignore_errors=True)
        images = lab.docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
        if built := [image for image in images if image.startswith(f"127.0.0.1:{self.port}/")]:
            lab.docker("rmi", "-f", *built, check=False)

    def _service(self, name: str) -> str:
        found = json.loads(kubectl("-n", self.namespace, "get", "service", name, "-o", "json"))["spec"]
        return f"http://{found['clusterIP']}:{found['ports'][0]['port']}"

    def pods(self, component: str) -> list[dict[str, Any]]:
        """The living pods of one of our processes."""
        found = json.loads(kubectl("-n", self.namespace, "get", "pods", "-l", f"app.kubernetes.io/component={component}", "-o", "json"))
        return [pod for pod in found["items"] if not pod["metadata"].get("deletionTimestamp")]

    def delete(self, component: str) -> None:
        """Delete the pods of one of our processes at once, as a node that goes away would."""
        for pod in self.pods(component):
            kubectl("-n", self.namespace, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")

    def replicas(self) -> list[str]:
        """The addresses of the front door's pods."""
        return [f"http://{pod['status']['podIP']}:{pod['spec']['containers'][0]['ports'][0]['containerPort']}"
                for pod in self.pods("api") if all(each["ready"] for each in pod["status"]["containerStatuses"])]

    def names(self, namespace: str) -> list[str]:
        """The pods of a namespace with their uids."""
        found = json.loads(kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
        return [f"{pod['metadata']['name']} {pod['metadata']['uid']}" for pod in found]

    def secret(self, key: str) -> str:
        """A value of the secret that the chart has made."""
        return base64.b64decode(kubectl("-n", self.namespace, "get", "secret", "dockyard", "-o", f"jsonpath={{.data.{key}}}")).decode()

    # -- the user's side -------------------------------------------------------------------------------------------------

    def repository(self, name: str, dockerfile: str = SERVER) -> str:
        """A new repository; its spec with its commit."""
        return self.commit(Repo.create(self.repositories, name), name, {"Dockerfile": dockerfile})

    def commit(self, repo: Repo, name: str, files: dict[str, str | None]) -> str:
        """A new commit of a repository; its spec."""
        return f"git/{quote(self.git.url(name), safe='')}/{repo.commit(files)}"  # type: ignore[arg-type]

    async def built(self) -> str:
        """A spec whose image is there: that of the first launch which went well."""
        if not self._built:
            await self.stop(await self.launch(self.repository("built.git")))
        assert self._built
        return self._built

    async def become_environment(self, spec: str, key: str) -> None:
        """Let the registry have the image of a launch under the name of an environment, too."""
        events = await self.launch(spec)
        image = Reference.parse((await self.launch_of(events))["image"])
        async with Registry(RegistrySettings(url=f"http://127.0.0.1:{self.port}")) as registry:
            found = await registry.manifest(image)
            assert found is not None
            for blob in (found.content["config"], *found.content["layers"]):
                assert await registry.mount("r2d-environments", blob["digest"], image.repository)
            await registry.put_manifest(Reference("", "r2d-environments", key), found.media_type, found.body)
        await self.stop(events)

    @asynccontextmanager
    async def stream(self, spec: str, base: str = "", last: str = "") -> AsyncIterator[Stream]:
        """One connection to the events of a launch."""
        headers = {**HOST, "accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(60, connect=5)) as client,
            client.stream("GET", f"{base or self.api}/build/{spec}", headers=headers) as response,
        ):
            if response.status_code != 200:
                raise httpx.RemoteProtocolError(f"status {response.status_code}")
            yield Stream(response)

    async def launch(
        self, spec: str, seen: Callable[[dict[str, Any]], object] = lambda _: None, seconds: float = 400
    ) -> list[dict[str, Any]]:
        """All events of a launch, over as many connections as it takes, as a browser follows it."""
        events: list[dict[str, Any]] = []
        last = ""
        async with asyncio.timeout(seconds):
            while True:
                with suppress(httpx.HTTPError):
                    async with self.stream(spec, last=last) as stream:
                        async for event in stream:
                            last = stream.last
                            events.append(event)
                            seen(event)
                            if event["phase"] in OVER:
                                if event["phase"] == "ready":
                                    self._built = self._built or spec
                                return events
                await asyncio.sleep(1)

    async def ask(self, ready: dict[str, Any], path: str = "api/status") -> httpx.Response:
        """What the server of a `ready` event answers, through the proxy."""
        user = "/user/" + ready["url"].partition("/user/")[2]
        async with httpx.AsyncClient(timeout=20) as client:
            return await client.get(f"{self.proxy}{user}{path}", params={"token": ready["token"]})

    async def answers(self, ready: dict[str, Any]) -> int:
        """The status with which it answers `/api/status`."""
        return (await self.ask(ready)).status_code

    async def stop(self, events: list[dict[str, Any]]) -> None:
        """Stop a launch."""
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.delete(f"{self.api}/api/v1/launches/{events[-1]['id'].split('.')[0]}", headers=HOST)
        assert answer.status_code < 300, answer.text

    async def launch_of(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """A launch as the REST API shows it."""
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.get(f"{self.api}/api/v1/launches/{events[-1]['id'].split('.')[0]}", headers=HOST)
        found: dict[str, Any] = answer.json()
        return found

    async def rows(self) -> dict[str, int]:
        """How many launches are in each state, as the operator's list says."""
        found: dict[str, int] = {}
        headers = {**HOST, "authorization": f"Bearer {self.secret('admin-token')}"}
        async with httpx.AsyncClient(timeout=20) as client:
            cursor = ""
            while True:
                query = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
                page = (await client.get(f"{self.api}/api/v1/launches", params=query, headers=headers)).json()
                for launch in page["items"]:
                    found[launch["state"]] = found.get(launch["state"], 0) + 1
                if not (cursor := page.get("next") or ""):
                    return found

    async def hub_users(self) -> list[str]:
        """The users of the hub."""
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.get(f"{self.hub}/hub/api/users", headers={"authorization": f"token {self.secret('hub-token')}"})
        return [user["name"] for user in answer.json()]
