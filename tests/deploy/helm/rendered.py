"""The chart, rendered in this process by Helm's own code."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).resolve().parents[3] / "deploy/helm/dockyard"
FILES = CHART.parent / "values"
TRY: Mapping[str, Any] = {
    "postgresql": {"enabled": True}, "valkey": {"enabled": True}, "registry": {"bundled": {"enabled": True}},
}
Object = dict[str, Any]


def values(name: str) -> dict[str, Any]:
    """A file of deploy/helm/values."""
    found: dict[str, Any] = yaml.safe_load((FILES / f"{name}.yaml").read_text())
    return found


FROM_FILES = {path.stem: values(path.stem) for path in sorted(FILES.glob("*.yaml"))}
MADE: Mapping[str, Mapping[str, Any]] = {
    "minimal": TRY,
    "dind": {**TRY, "builds": {"builder": "dind", "namespace": "b", "createNamespace": True}},
    "pink": {**TRY, "builds": {"builder": "pink"}},
    "host": {**TRY, "builds": {"builder": "host"}},
    "own hub": {**TRY, "hub": {"enabled": False, "url": "http://hub.jhub:8081/hub/api/"}, "users": {"namespace": "jhub"}},
    "external": {
        "database": {"url": "postgresql+asyncpg://u:p@db/d"}, "redis": {"url": "redis://r/0"},
        "registry": {"url": "https://r.example.org", "imagePrefix": "r.example.org/b/", "username": "u", "password": "p"},
        "secrets": {"providers": {"github_token": "t", "git_credentials": {"git.example.org": "username=a\npassword=b"}}},
    },
    "quotas, spaces, scaling": {
        **TRY, "users": {"namespace": "u", "createNamespace": True, "quota": {"pods": "5"}},
        "builds": {"namespace": "u", "createNamespace": True, "quota": {"pods": "5"}},
        "api": {"autoscaling": {"enabled": True}},
        "networkPolicy": {"ports": [80, 443], "frontFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        "imagePullSecrets": ["pull"], "extraEnv": {"HTTPS_PROXY": "http://p:1"}, "metrics": {"serviceMonitor": {"enabled": True}},
    },
}
ALL: Mapping[str, Mapping[str, Any]] = {**FROM_FILES, **MADE}
FOREIGN = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}  # no schemas of Kubernetes itself


def render(given: Mapping[str, Any], *, name: str = "dockyard") -> list[Object]:
    """All objects of a release with these values."""
    chart = helm_python.Chart.load(CHART)
    texts = chart.render(dict(given), name=name, namespace="binder", is_install=True)
    return [
        found for path, text in texts.items() if not path.endswith("NOTES.txt") for found in yaml.safe_load_all(text) if found
    ]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The pods that the objects make, by the name of their owner."""
    for found in objects:
        if template := found.get("spec", {}).get("template"):
            yield f"{found['kind']}/{found['metadata']['name']}", template


def containers(pod: Object) -> list[Object]:
    """Init containers and containers."""
    return [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """The only object of this kind and name."""
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind}/{name}: {len(found)}"
    return found[0]
