"""The pod of one attempt at a build, as a pure function of the job, the settings and the nodes.

A build runs strangers' code. So the pod has no account of the cluster, no links to services, limits of memory, CPU,
disk and time, no volume of the node, and the few capabilities that unpacking and chrooting need; the contained builder
needs no more (see `deploy/build`), and the limits of its container bind every step of the build. With `dind`, `pink` and `host` the
steps run in a daemon of the node instead: the pod then holds that daemon's socket, and the limits bind the pod alone.

The name comes from build and attempt, so that a second worker that wants to start the same attempt finds it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.runtimes.base import BuildJob
from services.runtimes.kubernetes.objects import ATTEMPT, BUILD, COMPONENT, INSTANCE, REPOSITORY, Object
from services.runtimes.kubernetes.pods import CONTAINER, FETCHING
from services.runtimes.kubernetes.telling import COMMAND, FETCH, LOGINS
from services.settings import KubernetesSettings

SOCKETS: Mapping[str, str] = {
    "dind": "/var/run/dockyard-dind/docker.sock", "pink": "/var/run/dockyard-pink/podman.sock", "host": "/var/run/docker.sock",
}
# What root inside of the container needs to unpack layers with their owners and to chroot into them.
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")
_FIXED: Mapping[str, str] = {"TMPDIR": "/build/tmp", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
# The last is where buildah keeps which blobs of a registry its layers are; without it a push compresses and sends all of them again.
_SCRATCH = ("/run", "/tmp", "/root", "/bases", "/var/cache/containers", "/var/lib/containers/cache")  # noqa: S108 - of the container
_GRACE = 10  # seconds between the request to end and the end
_HOSTNAME = "kubernetes.io/hostname"


def manifest(
    job: BuildJob, told: Mapping[str, str], settings: KubernetesSettings, *, namespace: str, seconds: float, nodes: Sequence[str] = (),
    private: bool = False, owners: Sequence[Object] = (),
) -> dict[str, Any]:
    """The build pod of `job`.

    `told` is the environment that tells the build program what to do; `seconds` is the deadline; `nodes` are the names
    of the nodes that can build, of which the repository's own is preferred. `private`: its repositories need the logins of
    `secret`, which one container fetches them with that has ended before the build begins. With the last of `owners` the pod goes.
    """
    labels = {
        **settings.labels, "app.kubernetes.io/name": "dockyard", "app.kubernetes.io/managed-by": "dockyard", COMPONENT: "build",
        INSTANCE: settings.instance, BUILD: job.id, ATTEMPT: str(job.attempt),
    }
    annotations = {
        **settings.annotations, REPOSITORY: job.repo_url,
        # An autoscaler must not move a build to empty a node.
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    }
    if settings.builder == "contained":
        # Before Kubernetes 1.30 an annotation says what `appArmorProfile` says later; its default refuses every mount.
        annotations[f"container.apparmor.security.beta.kubernetes.io/{CONTAINER}"] = "unconfined"
    metadata: dict[str, Any] = {"name": job.handle, "namespace": namespace, "labels": labels, "annotations": annotations}
    if owners:
        metadata["ownerReferences"] = list(owners)
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": _spec(job, told, settings, seconds, nodes, private),
    }


def secret(job: BuildJob, logins: str, namespace: str, pod: Object) -> dict[str, Any]:
    """The Secret with the logins of a pod that has been made; the cluster removes it with the pod."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": job.handle, "uid": pod["metadata"].get("uid", "")}
    metadata = {"name": job.handle, "namespace": namespace, "labels": dict(pod["metadata"].get("labels") or {}), "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"logins": logins}}


def _spec(
    job: BuildJob, told: Mapping[str, str], settings: KubernetesSettings, seconds: float, nodes: Sequence[str], private: bool,
) -> dict[str, Any]:
    volumes, mounts = _volumes(settings)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": max(1, int(seconds)),
        "terminationGracePeriodSeconds": _GRACE,
        "containers": [_container(told, settings, mounts)],
        **({"initContainers": [_fetching(job, told, settings, mounts)]} if private else {}),
        "volumes": volumes,
    }
    optional: Mapping[str, Any] = {
        "nodeSelector": dict(settings.node_selector),
        "tolerations": list(settings.tolerations),
        "affinity": dict(settings.affinity) or _affinity(job.repo_url, nodes),
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
        "priorityClassName": settings.priority_class,
        "runtimeClassName": settings.runtime_class,
    }
    spec |= {key: value for key, value in optional.items() if value}
    if settings.user_namespace:
        spec["hostUsers"] = False
    return spec


def _container(told: Mapping[str, str], settings: KubernetesSettings, mounts: list[Object]) -> dict[str, Any]:
    environment: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in sorted({**settings.environment, **told, **_engine(settings), **_FIXED}.items())
    ]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.build_image,
        "command": list(COMMAND),
        "env": environment,
        "resources": _resources(settings),
        "securityContext": _security(settings),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "File",
    }
    if settings.pull_policy:
        container["imagePullPolicy"] = settings.pull_policy
    return container


def _fetching(job: BuildJob, told: Mapping[str, str], settings: KubernetesSettings, mounts: list[Object]) -> dict[str, Any]:
    """The container that fetches with logins; it holds nothing else that is secret."""
    found = _container(told, settings, [mount for mount in mounts if mount["name"] in ("work", "scratch", "ca")])
    source = {"secretKeyRef": {"name": job.handle, "key": "logins"}}
    return {**found, "name": FETCHING, "command": list(FETCH), "env": [*found["env"], {"name": LOGINS, "valueFrom": source}]}


def _engine(settings: KubernetesSettings) -> dict[str, str]:
    if settings.builder == "contained":
        return {}
    return {"DOCKER_HOST": "unix:///var/run/engine/" + _socket(settings).rpartition("/")[2]}


def _socket(settings: KubernetesSettings) -> str:
    return settings.socket or SOCKETS[settings.builder]


def _resources(settings: KubernetesSettings) -> dict[str, Any]:
    requests = {"cpu": settings.cpu_request, "memory": settings.memory_request, "ephemeral-storage": settings.disk_request}
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit, "ephemeral-storage": settings.disk_limit}
    kept = {"requests": {k: v for k, v in requests.items() if v}, "limits": {k: v for k, v in limits.items() if v}}
    return {key: value for key, value in kept.items() if value}


def _security(settings: KubernetesSettings) -> dict[str, Any]:
    if settings.builder != "contained":
        # The daemon does the work; its socket belongs to root.
        return {
            "runAsUser": 0, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]}, "seccompProfile": {"type": "RuntimeDefault"},
        }
    kind, _, file = settings.seccomp.partition("/")
    profile = {"type": kind} | ({"localhostProfile": file} if file else {})
    return {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": list(_CAPABILITIES)},
        "seccompProfile": profile,
        "appArmorProfile": {"type": "Unconfined"},
    }


def _volumes(settings: KubernetesSettings) -> tuple[list[Object], list[Object]]:
    """The volumes of the pod and where the container has them."""
    limit = {"sizeLimit": settings.disk_limit} if settings.disk_limit else {}
    # As in the runtime `docker`: everything is written below /build, beside the small places that programs expect.
    volumes: list[Object] = [{"name": "work", "emptyDir": limit}, {"name": "scratch", "emptyDir": {"sizeLimit": "256Mi"}}]
    mounts: list[Object] = [
        {"name": "work", "mountPath": "/build"},
        *({"name": "scratch", "mountPath": path, "subPath": path.rpartition("/")[2]} for path in _SCRATCH),
    ]
    if settings.push_secret:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        volumes.append({"name": "push", "secret": {"secretName": settings.push_secret, "items": items, "defaultMode": 0o400}})
        mounts.append({"name": "push", "mountPath": "/run/secrets/push", "readOnly": True})
    if settings.ca_configmap:
        volumes.append({"name": "ca", "configMap": {"name": settings.ca_configmap}})
        mounts.append({"name": "ca", "mountPath": "/etc/dockyard/ca", "readOnly": True})
    if settings.registries_configmap:
        volumes.append({"name": "registries", "configMap": {"name": settings.registries_configmap}})
        mounts.append({"name": "registries", "mountPath": "/etc/containers/registries.conf.d", "readOnly": True})
    if settings.builder != "contained":
        # The directory, not the socket: a daemon that starts anew makes a new socket.
        directory = _socket(settings).rpartition("/")[0]
        volumes.append({"name": "engine", "hostPath": {"path": directory, "type": "Directory"}})
        mounts.append({"name": "engine", "mountPath": "/var/run/engine"})
    return volumes, mounts


def _affinity(repo_url: str, nodes: Sequence[str]) -> dict[str, Any]:
    """Prefer the repository's own node; where it is full, any other will do."""
    if not nodes:
        return {}
    wanted = {"matchExpressions": [{"key": _HOSTNAME, "operator": "In", "values": [ranked(repo_url, nodes)[0]]}]}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": wanted}]}}


def ranked(repo_url: str, nodes: Sequence[str]) -> list[str]:
    """The nodes in a repository's order of preference (rendezvous hashing).

    A node that comes or goes changes the first choice of its own share of the repositories and of no other.
    """
    return sorted(nodes, key=lambda node: hashlib.sha256(json.dumps([repo_url, node]).encode()).digest(), reverse=True)
