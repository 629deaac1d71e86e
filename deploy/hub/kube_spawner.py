"""The spawner of the runtime `kubernetes`: KubeSpawner with the launch's words, and an eye on the pod while it starts.

KubeSpawner waits until a pod runs, or until a time has passed; what keeps the pod from running it does not tell. Here
the pod's status is read all the while, so that an image that is gone, a server that crashes or a cluster without room
ends in a sentence within seconds, with a verdict for the launcher. And the server is asked itself whether it answers,
every 50 ms: JupyterHub's own waiting doubles its pauses up to five seconds.

BinderHub's `user_options` are all that a launch sends, so a zero-to-jupyterhub with BinderHub's own spawner mixin serves as
well (see docs/kubernetes.md); it lacks the sentences and the launch's own environment.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiException, V1OwnerReference
from kubespawner import KubeSpawner
from traitlets import Float, Unicode

from deploy.hub.binder import BinderMixin, option
from deploy.hub.failure import BROKEN, UNLUCKY, StartFailed
from deploy.hub.kube_trouble import FULL, Trouble, trouble
from services.settings import Settings

# An image made by repo2docker, new or old, has one of these; the launch's arguments follow.
COMMAND = ("python3", "-c", """
import os, sys
try:
    import jupyterlab
    major = int(jupyterlab.__version__.split(".", 1)[0])
except Exception:
    major = 0
command = "jupyter-lab" if major >= 3 else "jupyter-notebook"
os.execvp(command, [command, *sys.argv[1:]])
""")
_POLL = 0.05  # seconds between two looks at a starting server
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_AWAY = (aiohttp.ClientError, TimeoutError, OSError)  # no answer of the API server
_REFLECTORS = asyncio.Lock()
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class DockyardKubeSpawner(BinderMixin, KubeSpawner):  # type: ignore[misc]  # JupyterHub has no types
    """Starts the server of `user_options["image"]` in a pod."""

    patience = Float(300, config=True, help="Seconds from the request to the answer of the server, its image's pull included.")
    owner = Unicode("", config=True, help="ConfigMap of the servers' namespace that their pods belong to; they go with it.")
    _full: Trouble | None = None  # the cluster does not take the pod yet, because a quota is used up

    def get_env(self) -> dict[str, str]:
        """KubeSpawner's environment, the launch's `BINDER_*` and the launch's own variables."""
        given = self.user_options.get("environment") or {}
        if not isinstance(given, dict) or len(given) > 64 or not all(_VARIABLE.fullmatch(str(name)) for name in given):
            raise StartFailed("The environment of a server is a table of at most 64 variables.", BROKEN)
        return {**{name: option(given, name) for name in given}, **super().get_env()}

    async def _start_reflector(self, kind: str, reflector_class: Any, replace: bool = False, **more: Any) -> Any:
        """KubeSpawner's watch over all pods or events, begun again where it has given up.

        It gives up for good when the API server is away for a minute, and the hub would be blind from then on.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience
        while True:
            try:
                async with _REFLECTORS:
                    found = self.__class__.reflectors.get(self._get_reflector_key(kind))
                    dead = found is not None and (found.watch_task is None or found.watch_task.done())
                    return await super()._start_reflector(kind, reflector_class, replace=replace or dead, **more)
            except _AWAY:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(1)

    async def _owners(self) -> list[V1OwnerReference]:
        """What pods go with; where there is none, or we may not read it, they belong to nobody."""
        if not self.owner:
            return []
        try:
            found = await self.api.read_namespaced_config_map(self.owner, self.namespace)
        except ApiException as error:
            if error.status not in (403, 404):
                raise
            self.log.warning("The owner of servers cannot be read: %s", error.reason)
            return []
        return [V1OwnerReference(api_version="v1", kind="ConfigMap", name=self.owner, uid=found.metadata.uid)]

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        """False, for another try, while the API server is away or a quota is used up."""
        try:
            pod.metadata.owner_references = await asyncio.wait_for(self._owners(), request_timeout)
            made = bool(await super()._make_create_pod_request(pod, request_timeout))
        except _AWAY:
            return False
        except ApiException as error:
            if error.status == 403 and "exceeded quota" in str(error.body):
                self._full = FULL
                self.log.warning("The pod %s waits: a quota is used up", self.pod_name)
            elif error.status != 429 and error.status < 500:
                raise
            return False
        self._full = None
        return made

    async def _make_delete_pod_request(self, *args: Any) -> bool:
        """False, for another try, while the API server is away."""
        try:
            return bool(await super()._make_delete_pod_request(*args))
        except _AWAY:
            return False

    def start(self) -> "asyncio.Future[str]":
        """Start the pod; done when the server answers. Fails with `StartFailed`."""
        self._full = None
        inner = super().start()
        self._start_future = asyncio.ensure_future(self._started(inner))
        return self._start_future

    async def _started(self, inner: "asyncio.Future[str]") -> str:
        watching = asyncio.ensure_future(self._trouble())
        try:
            async with asyncio.timeout(self.patience):
                await asyncio.wait({inner, watching}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    raise await self._start_failure(watching.result())
                url = inner.result()
                answering = asyncio.ensure_future(self._answering(url))
                try:
                    await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
                    if not answering.done():
                        raise await self._start_failure(watching.result())
                    answering.result()
                finally:
                    answering.cancel()
                return url
        except TimeoutError as error:
            found = self._full or trouble(self._pod() or {})
            words = found.sentence if found else "Its pod was made, and it did not answer."
            raise StartFailed(f"The server was not ready within {self.patience:.0f} seconds. {words}", UNLUCKY) from error
        finally:
            inner.cancel()
            watching.cancel()
            await asyncio.gather(inner, watching, return_exceptions=True)

    def _pod(self) -> Mapping[str, Any] | None:
        reflector = self.pod_reflector
        return reflector.pods.get(f"{self.namespace}/{self.pod_name}") if reflector else None

    async def _trouble(self) -> Trouble:
        """Return when something is wrong with the pod and has been for as long as it may."""
        loop = asyncio.get_running_loop()
        since: dict[str, float] = {}
        seen = False
        while True:
            with contextlib.suppress(Exception):  # an API server that is away; the patience of the start bounds it
                await self._start_watching_pods()
            pod = self._pod()
            # A pod of this name that goes away is one of an earlier start.
            going = pod is not None and (pod.get("metadata") or {}).get("deletionTimestamp")
            found = trouble(pod) if pod is not None and not going else None
            if seen and (pod is None or going):
                return Trouble("The server's pod was removed while it started.", UNLUCKY)
            seen = seen or (pod is not None and not going)
            if found:
                began = since.setdefault(found.sentence[:40], loop.time())
                if loop.time() - began >= found.patience:
                    return found
            else:
                since.clear()
            await asyncio.sleep(0.2)

    async def _start_failure(self, found: Trouble) -> StartFailed:
        """The error, with the end of the server's log where there is one."""
        words = ""
        if found.crashed:
            with contextlib.suppress(Exception):  # the sentence without it is good enough
                text = await asyncio.wait_for(
                    self.api.read_namespaced_pod_log(self.pod_name, self.namespace, tail_lines=8, limit_bytes=4096), 5)
                words = "\n".join(line[:300] for line in _CONTROL.sub("", str(text)).splitlines() if line.strip())
        return StartFailed(found.sentence + (f" Its last words:\n{words}" if words else ""), found.verdict)

    async def _answering(self, url: str) -> None:
        """Return when the server answers anything but a failure."""
        address = url.rstrip("/") + self.server.base_url + "api"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5), trust_env=False) as session:
            while True:
                try:
                    async with session.get(address, allow_redirects=False) as response:
                        if response.status < 500:
                            return
                except (aiohttp.ClientError, TimeoutError, OSError):
                    pass
                await asyncio.sleep(_POLL)


def quantity(text: str) -> int:
    """Bytes of a quantity as Kubernetes writes it, such as 512Mi. Raises `ValueError`."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]{0,2})", text.strip())
    if not found or found[2] not in _UNITS:
        raise ValueError(f"{text!r} is not a quantity such as 512Mi or 2Gi.")
    return int(float(found[1]) * _UNITS[found[2]])


def configure(c: Any, settings: Settings) -> None:
    """Write this spawner and the hub's addresses inside of a cluster into JupyterHub's configuration."""
    found = settings.kubernetes
    c.JupyterHub.spawner_class = DockyardKubeSpawner
    # `hub.url` names the hub's service, which is no address of this pod: listen on all of its own.
    prefix = re.sub(r"^[a-z]+://[^/]*|hub/api/$", "", settings.hub.url)
    c.JupyterHub.hub_bind_url = f"http://:{found.hub_port}{prefix}"
    c.JupyterHub.hub_connect_url = settings.hub.url.removesuffix("hub/api/")
    if url := os.environ.get("DOCKYARD_HUB_DATABASE"):
        c.JupyterHub.db_url = url
    spawner = c.DockyardKubeSpawner
    if found.users or found.namespace:
        spawner.namespace = found.users or found.namespace
    spawner.cmd = list(COMMAND)
    DockyardKubeSpawner.cors_allow_origin = settings.front.origins[0] if len(settings.front.origins) == 1 else ""
    spawner.patience = found.server_start
    spawner.owner = found.owner
    spawner.start_timeout = int(found.server_start) + 30
    spawner.http_timeout = 30
    spawner.k8s_api_request_retry_timeout = 300
    spawner.common_labels = {"app": "jupyterhub", "heritage": "jupyterhub"}
    spawner.extra_labels = {
        "app.kubernetes.io/name": "dockyard", "app.kubernetes.io/managed-by": "dockyard", "dockyard/instance": found.instance,
    }
    spawner.mem_guarantee = quantity(found.server_memory_request) if found.server_memory_request else None
    spawner.mem_limit = quantity(found.server_memory_limit) if found.server_memory_limit else None
    spawner.cpu_guarantee = found.server_cpu_request or None
    spawner.cpu_limit = found.server_cpu_limit or None
    spawner.node_selector = found.server_node_selector
    spawner.tolerations = found.server_tolerations
    spawner.image_pull_secrets = found.server_pull_secrets
    spawner.image_pull_policy = "IfNotPresent"
    # The server of a repository: nobody's account, no capability, no new privileges, never root.
    spawner.uid = 1000
    spawner.gid = 1000
    spawner.fs_gid = 1000
    spawner.allow_privilege_escalation = False
    spawner.privileged = False
    spawner.container_security_context = {"capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    spawner.pod_security_context = {"seccompProfile": {"type": "RuntimeDefault"}}
    spawner.automount_service_account_token = False
    spawner.extra_pod_config = {
        "restartPolicy": "Never", "enableServiceLinks": False, "terminationGracePeriodSeconds": 5,
        **({"runtimeClassName": found.server_runtime_class} if found.server_runtime_class else {}),
    }
    spawner.storage_pvc_ensure = False
    spawner.delete_pvc = False
    spawner.events_enabled = True
