"""The build pod, as a table of settings and what they make of it; each pod is valid in three versions of Kubernetes."""

from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pytest

from services.runtimes.base import BuildJob
from services.runtimes.kubernetes.manifest import manifest, ranked, secret
from services.settings import load

JOB = BuildJob("0123456789abcdef" * 2, 2, "registry/r2d-x:1", "gh", "https://github.com/o/r", "c" * 40)
VERSIONS = ("1.35", "1.36", "1.37")


def made(nodes: tuple[str, ...] = (), **values: str) -> dict[str, Any]:
    """The pod under these settings, found valid."""
    settings = load({f"DOCKYARD_KUBERNETES_{key}".upper(): value for key, value in values.items()}).kubernetes
    pod = manifest(JOB, {"TASK": "x"}, settings, namespace="builds", seconds=90.5, nodes=nodes)
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    return pod


def at(pod: Mapping[str, Any], path: str) -> Any:
    """A value deep in a manifest: keys and indices joined by dots; None where there is none."""
    found: Any = pod
    for key in path.split("."):
        found = dict(enumerate(found)) if isinstance(found, list) else found or {}
        found = found.get(int(key) if key.isdigit() else key)
    return found


C = "spec.containers.0."
CASES: list[tuple[dict[str, str], str, Any]] = [
    ({}, "metadata.name", "build-" + JOB.id + "-2"),
    ({}, "metadata.namespace", "builds"),
    ({}, "metadata.labels.dockyard/build", JOB.id),
    ({}, "metadata.labels.dockyard/attempt", "2"),
    ({"instance": "blue"}, "metadata.labels.dockyard/instance", "blue"),
    ({"labels": '{"team": "a", "dockyard/build": "forged"}'}, "metadata.labels.dockyard/build", JOB.id),
    ({"labels": '{"team": "a"}'}, "metadata.labels.team", "a"),
    ({}, "spec.restartPolicy", "Never"),
    ({}, "spec.automountServiceAccountToken", False),
    ({}, "spec.serviceAccountName", None),
    ({}, "spec.enableServiceLinks", False),
    ({}, "spec.activeDeadlineSeconds", 90),
    ({}, "spec.hostUsers", None),
    ({"user_namespace": "true"}, "spec.hostUsers", False),
    ({}, "spec.hostNetwork", None),
    ({"memory_limit": "3Gi"}, C + "resources.limits.memory", "3Gi"),
    ({"memory_request": "1Gi"}, C + "resources.requests.memory", "1Gi"),
    ({"cpu_limit": ""}, C + "resources.limits.cpu", None),
    ({"disk_limit": "9Gi"}, C + "resources.limits.ephemeral-storage", "9Gi"),
    ({"disk_limit": "9Gi"}, "spec.volumes.0.emptyDir.sizeLimit", "9Gi"),
    ({"node_selector": '{"pool": "builds"}'}, "spec.nodeSelector", {"pool": "builds"}),
    ({"tolerations": '[{"key": "builds", "operator": "Exists"}]'}, "spec.tolerations", [{"key": "builds", "operator": "Exists"}]),
    ({"pull_secrets": "one,two"}, "spec.imagePullSecrets", [{"name": "one"}, {"name": "two"}]),
    ({"priority_class": "low"}, "spec.priorityClassName", "low"),
    ({"runtime_class": "gvisor"}, "spec.runtimeClassName", "gvisor"),
    ({"pull_policy": "Never"}, C + "imagePullPolicy", "Never"),
    ({}, C + "imagePullPolicy", None),
    ({}, C + "securityContext.privileged", False),
    ({}, C + "securityContext.capabilities.drop", ["ALL"]),
    ({}, C + "securityContext.seccompProfile", {"type": "Unconfined"}),
    ({"seccomp": "Localhost/dockyard/build.json"}, C + "securityContext.seccompProfile",
     {"type": "Localhost", "localhostProfile": "dockyard/build.json"}),
    ({}, C + "securityContext.allowPrivilegeEscalation", False),
    ({}, C + "securityContext.readOnlyRootFilesystem", True),
    ({"builder": "dind"}, "spec.volumes.2.hostPath.path", "/var/run/dockyard-dind"),
    ({"builder": "pink"}, "spec.volumes.2.hostPath.path", "/var/run/dockyard-pink"),
    ({"builder": "host"}, "spec.volumes.2.hostPath.path", "/var/run"),
    ({"builder": "host", "socket": "/run/d/d.sock"}, "spec.volumes.2.hostPath.path", "/run/d"),
    ({}, "spec.volumes.2", None),
    ({"push_secret": "push"}, "spec.volumes.2.secret.secretName", "push"),
    ({"ca_configmap": "ca"}, "spec.volumes.2.configMap.name", "ca"),
    ({"affinity": '{"podAntiAffinity": {}}'}, "spec.affinity", {"podAntiAffinity": {}}),
    ({}, "spec.affinity", None),
]


@pytest.mark.parametrize(("values", "path", "expected"), CASES)
def test_settings_and_what_becomes_of_them(values: dict[str, str], path: str, expected: Any) -> None:
    """One setting, one place in the pod."""
    assert at(made(**values), path) == expected


def test_the_environment_of_the_build() -> None:
    """What the build is told, what the operator adds, and secrets by reference alone."""
    pod = made(environment='{"HTTPS_PROXY": "http://proxy:3128"}', builder="host")
    found = {entry["name"]: entry.get("value") for entry in at(pod, C + "env")}
    assert found == {
        "TASK": "x", "TMPDIR": "/build/tmp", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        "HTTPS_PROXY": "http://proxy:3128", "DOCKER_HOST": "unix:///var/run/engine/docker.sock",
    }


def test_what_is_private_is_fetched_by_a_container_that_has_ended_before_the_build() -> None:
    """Its logins are a reference in that container alone, which holds no other secret."""
    settings = load({"DOCKYARD_KUBERNETES_PUSH_SECRET": "push"}).kubernetes
    pod = manifest(JOB, {"TASK": "x"}, settings, namespace="builds", seconds=90, private=True)
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    first = at(pod, "spec.initContainers.0")
    assert first["command"] == ["python", "-m", "steps.pod", "fetch"]
    assert first["env"][-1] == {"name": "DOCKYARD_LOGINS", "valueFrom": {"secretKeyRef": {"name": JOB.handle, "key": "logins"}}}
    assert {mount["name"] for mount in first["volumeMounts"]} == {"work", "scratch"}
    assert "LOGINS" not in str(at(pod, "spec.containers"))
    found = secret(JOB, "whisper", "builds", {"metadata": {**pod["metadata"], "uid": "u-1"}})
    kubernetes_validate.validate(found, VERSIONS[0], strict=True)
    assert found["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": JOB.handle, "uid": "u-1"}]
    assert "initContainers" not in made()["spec"]


def test_a_pod_goes_with_its_owner() -> None:
    """As garbage of the cluster; by itself it belongs to nobody."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "dockyard-pods", "uid": "u-1"}
    pod = manifest(JOB, {}, load({}).kubernetes, namespace="builds", seconds=90, owners=[owner])
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    assert pod["metadata"]["ownerReferences"] == [owner]
    assert "ownerReferences" not in made()["metadata"]


def test_no_build_holds_a_volume_of_the_node_unless_it_shares_a_daemon() -> None:
    """The contained builder is the default."""
    assert not [volume for volume in made()["spec"]["volumes"] if "hostPath" in volume]


def test_a_repository_prefers_its_own_node() -> None:
    """A preference, not a demand; the same in every worker, whatever the order of the nodes."""
    one = made(nodes=("a", "b", "c"))
    assert one["spec"]["affinity"] == made(nodes=("c", "a", "b"))["spec"]["affinity"]
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in one["spec"]["affinity"]["nodeAffinity"]


def test_a_node_that_leaves_moves_only_its_own_repositories() -> None:
    """Rendezvous hashing: the others keep their layers; and the shares are even."""
    nodes, repositories = [f"n{n}" for n in range(5)], [f"https://example.org/{n}" for n in range(1000)]
    before = {repo: ranked(repo, nodes)[0] for repo in repositories}
    after = {repo: ranked(repo, nodes[1:])[0] for repo in repositories}
    assert all(before[repo] == after[repo] for repo in repositories if before[repo] != "n0")
    assert all(140 < sum(node == n for node in before.values()) < 260 for n in nodes)
