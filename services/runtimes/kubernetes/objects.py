"""Words that manifests, watch and builder share: the labels of our pods and the paths of the API."""

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]  # a Kubernetes object as JSON

INSTANCE = "dockyard/instance"  # which installation it belongs to
COMPONENT = "app.kubernetes.io/component"
BUILD = "dockyard/build"  # the build's id
ATTEMPT = "dockyard/attempt"
REPOSITORY = "dockyard/repository"  # annotation: the address that is built


def pods(namespace: str, name: str = "") -> str:
    """The path of a namespace's pods, or of one."""
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def configmap(namespace: str, name: str) -> str:
    """The path of a ConfigMap."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


def secrets(namespace: str) -> str:
    """The path of a namespace's Secrets."""
    return f"/api/v1/namespaces/{namespace}/secrets"


def builds_of(instance: str) -> str:
    """The selector of all build pods of an installation."""
    return f"{COMPONENT}=build,{INSTANCE}={instance}"


def servers_of(instance: str) -> str:
    """The selector of all user servers that the chart's hub makes; the component's name is KubeSpawner's."""
    return f"{COMPONENT}=singleuser-server,{INSTANCE}={instance}"


def name_of(pod: Object) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])


def labels_of(pod: Object) -> Mapping[str, str]:
    """The pod's labels."""
    found: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return found
