"""The chart under many values: valid in three versions of Kubernetes, and within our own policy."""

import json
from typing import Any

import helm_python
import kubernetes_validate
import pytest

from services.settings import load
from services.settings.exposure import check_exposure
from tests.deploy.helm.rendered import ALL, CHART, FOREIGN, TRY, Object, containers, one, pods, render

VERSIONS = ("1.35", "1.36", "1.37")


@pytest.fixture(scope="module", params=ALL, name="objects")
def rendered(request: pytest.FixtureRequest) -> list[Object]:
    """The chart's objects under each set of values."""
    return render(ALL[request.param])


def test_every_object_is_valid() -> None:
    """Against the strict schemas of three current versions: an unknown key is a mistake."""
    different = {
        json.dumps(found, sort_keys=True): found for given in ALL.values() for found in render(given)
        if found["kind"] not in FOREIGN and found["kind"] != "Secret"
    }
    different["secret"] = one(render(TRY), "Secret", "dockyard")
    for found in different.values():
        for version in VERSIONS:
            kubernetes_validate.validate(found, version, strict=True)


def test_names_are_unique(objects: list[Object]) -> None:
    """No object twice."""
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))


def test_every_container_has_requests_and_limits(objects: list[Object]) -> None:
    """CPU and memory, asked for and bounded."""
    for owner, pod in pods(objects):
        for container in containers(pod):
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() >= {"cpu", "memory"}, f"{owner} {container['name']} {kind}"


def test_no_privilege_but_for_the_daemons_of_dind_and_pink(objects: list[Object]) -> None:
    """Not root, no new privileges, no capability, a root that cannot be written."""
    for owner, pod in pods(objects):
        daemon = owner.endswith("-builder")
        assert pod["spec"]["automountServiceAccountToken"] is owner.endswith(("-worker", "-reaper", "-hub")), owner
        assert pod["spec"]["enableServiceLinks"] is False, owner
        assert daemon or pod["spec"]["securityContext"]["runAsNonRoot"] is True, owner
        assert daemon or pod["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", owner
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys(), owner
        assert daemon or not [v for v in pod["spec"].get("volumes", ()) if "hostPath" in v], owner
        for container in containers(pod):
            security = container["securityContext"]
            if daemon and container["name"] == "daemon":
                continue
            assert security["allowPrivilegeEscalation"] is False, owner
            assert security["readOnlyRootFilesystem"] is True, owner
            assert security["capabilities"]["drop"] == ["ALL"], owner
            assert not security.get("privileged"), owner


def test_only_who_needs_a_secret_has_it(objects: list[Object]) -> None:
    """The worker runs next to strangers' builds: it knows neither the hub's token nor the key of the servers' tokens."""
    allowed = {
        "api": {"database-url", "redis-url", "hub-token", "key", "admin-token"}, "worker": {"database-url", "redis-url"},
        "launcher": {"database-url", "redis-url", "hub-token", "key"}, "reaper": {"database-url", "redis-url", "hub-token", "key"},
        "hub": {"hub-token", "proxy-token", "hub-cookie-secret"}, "proxy": {"proxy-token"}, "postgresql": {"postgres-password"},
        "migrations": {"database-url"},
    }
    for owner, pod in pods(objects):
        part = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        keys = {
            entry["valueFrom"]["secretKeyRef"]["key"]
            for container in containers(pod) for entry in container.get("env") or () if "valueFrom" in entry
        }
        assert keys <= allowed.get(part, set()), owner


def test_roles_hold_verbs_that_are_used(objects: list[Object]) -> None:
    """No wildcard, nothing but pods, their logs and events, and one ConfigMap; across the cluster the names of nodes alone.

    With logins for private repositories the worker may make secrets, and read none.
    """
    for role in (o for o in objects if o["kind"] in ("Role", "ClusterRole")):
        for rule in role["rules"]:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
            if role["metadata"]["name"] == "dockyard-worker-logins":
                assert (rule["resources"], rule["verbs"]) == (["secrets"], ["create"])
                assert one(objects, "Secret", "dockyard-providers")["stringData"]["DOCKYARD_PROVIDERS_GITHUB_TOKEN"] == "t"
                continue
            if rule["resources"] == ["configmaps"]:
                assert (rule["resourceNames"], rule["verbs"]) == (["dockyard-pods"], ["get"])
                continue
            assert set(rule["resources"]) <= {"pods", "pods/log", "events", "nodes"}
            assert role["kind"] == "Role" or (rule["resources"], rule["verbs"]) == (["nodes"], ["list"])


def test_settings_are_settings(objects: list[Object], tmp_path: Any) -> None:
    """The file that the chart makes is read by the processes, every key known."""
    file = tmp_path / "dockyard.toml"
    file.write_text(one(objects, "ConfigMap", "dockyard")["data"]["dockyard.toml"])
    settings = load({}, config=file)
    assert settings.runtime.name == "kubernetes"
    assert settings.registry.url
    assert settings.builds.image_prefix
    assert settings.hub.url.endswith("/hub/api/")
    assert settings.hub.exclusive is any(found["metadata"]["name"] == "dockyard-hub" for found in objects if found["kind"] == "Deployment")
    check_exposure(settings.front, settings.limits)


def test_strangers_reach_nothing_private(objects: list[Object]) -> None:
    """Builds and servers: closed from outside, and out to the public network, names and the registry alone."""
    for name in ("dockyard-builds", "dockyard-servers"):
        spec = one(objects, "NetworkPolicy", name)["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        blocks = [to["ipBlock"] for rule in spec["egress"] for to in rule["to"] if "ipBlock" in to]
        public = [block for block in blocks if block["cidr"] == "0.0.0.0/0"]
        assert len(public) == 1
        assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"} <= set(public[0]["except"])
        assert all({"10.0.0.0/8"} != {block["cidr"]} for block in blocks)
    assert one(objects, "NetworkPolicy", "dockyard-builds")["spec"]["ingress"] == []


def test_builds_and_servers_belong_to_the_release(objects: list[Object], tmp_path: Any) -> None:
    """To a ConfigMap of their own namespace, which worker and hub may read; owners in other namespaces do not exist for a cluster."""
    file = tmp_path / "dockyard.toml"
    file.write_text(one(objects, "ConfigMap", "dockyard")["data"]["dockyard.toml"])
    settings = load({}, config=file).kubernetes
    owners = {found["metadata"]["namespace"] for found in objects
              if found["kind"] == "ConfigMap" and found["metadata"]["name"] == settings.owner}
    assert owners == {settings.namespace, settings.users}


def test_lint() -> None:
    """Helm's own linter, strictly."""
    for name, given in ALL.items():
        report = helm_python.lint(CHART, dict(given), strict=True)
        assert not [m for m in report["messages"] if m["severity"] > 1], name


BAD = {
    "no database": ({**TRY, "postgresql": {"enabled": False}}, "database.url"),
    "no registry": ({**TRY, "registry": {}}, "registry.url"),
    "no hub": ({**TRY, "hub": {"enabled": False}}, "hub.url"),
    "no host": ({**TRY, "ingress": {"enabled": True}}, "hubUrl"),
    "one host": ({**TRY, "url": "https://a.org/", "hubUrl": "https://a.org/"}, "different hosts"),
    "a misspelt key": ({**TRY, "api": {"replicsa": 3}}, "replicsa"),
    "a wrong type": ({**TRY, "worker": {"replicas": "many"}}, "replicas"),
    "an unknown builder": ({**TRY, "builds": {"builder": "kaniko"}}, "builder"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_values_are_named(case: str) -> None:
    """A sentence, not a broken release."""
    given, words = BAD[case]
    with pytest.raises(helm_python.HelmError, match=words):
        render(given)


def test_secrets_are_made_at_random() -> None:
    """Two installations have nothing in common, and the chart keeps what it has made."""
    first, second = (one(render(TRY), "Secret", "dockyard") for _ in range(2))
    assert first["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for key in ("key", "admin-token", "hub-token", "proxy-token", "postgres-password"):
        assert len(first["stringData"][key]) >= 32
        assert first["stringData"][key] != second["stringData"][key]
    assert int(first["stringData"]["key"], 16)


def test_an_api_that_drains_has_the_time_for_it() -> None:
    """The grace period covers the pause, the drain and the rest."""
    deployment = one(render({**TRY, "api": {"drainSeconds": 100}}), "Deployment", "dockyard-api")
    pod = deployment["spec"]["template"]["spec"]
    drain = next(e["value"] for e in pod["containers"][0]["env"] if e["name"] == "DOCKYARD_LEASES_DRAIN")
    assert pod["terminationGracePeriodSeconds"] > int(drain) + 5
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
