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
