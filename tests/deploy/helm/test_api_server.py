"""The chart's objects under many values, looked at by the API server of the cluster that KUBECONFIG names, which keeps none of them."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from tests.deploy.helm.cluster import MARKS, kubectl
from tests.deploy.helm.rendered import ALL, CHART, Object

pytestmark = MARKS
# What needs kinds of objects that others bring.
FOREIGN = {"httpRoute": {"enabled": False}, "metrics": {"serviceMonitor": {"enabled": False}, "rules": {"enabled": False}}}


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace that stands for all."""
    name = f"dy-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def rendered(given: dict[str, Any], namespace: str) -> list[Object]:
    """The objects of a release as Helm makes them for this very server, all in one namespace."""
    one = {"namespace": namespace, "createNamespace": False}
    given = {**given, **FOREIGN, **{part: {**given.get(part, {}), **one} for part in ("builds", "users")}}
    with helm_python.Config(namespace=namespace) as config:
        found = config.install(str(CHART), "dockyard", given, dry_run="server")
    return [each for each in yaml.safe_load_all(found["manifest"]) if each]


@pytest.mark.parametrize("name", ALL)
def test_the_server_takes_every_object(namespace: str, name: str) -> None:
    """In the API versions that it serves, with keys that it knows."""
    objects = rendered(dict(ALL[name]), namespace)
    served = set(kubectl("api-versions").split())
    assert {found["apiVersion"] for found in objects} <= served
    for found in objects:
        found["metadata"]["namespace"] = namespace
    taken = kubectl("apply", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-",
                    given={"apiVersion": "v1", "kind": "List", "items": objects})
    assert len(taken.splitlines()) == len(objects)
    assert "PodDisruptionBudget" in json.dumps([found["kind"] for found in objects])
