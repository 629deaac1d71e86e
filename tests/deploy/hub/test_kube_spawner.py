"""The spawner of the runtime `kubernetes`: what a pod's status means for a server, and what the hub is configured with."""

from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiException, V1ObjectMeta, V1Pod
from traitlets.config import Config

from deploy.hub.failure import BROKEN, UNLUCKY, VANISHED, StartFailed
from deploy.hub.kube_spawner import DockyardKubeSpawner, configure, quantity
from deploy.hub.kube_trouble import trouble
from services.hub.models import UserOptions
from services.hub.verdict import Verdict
from services.runtimes.kubernetes.objects import servers_of
from services.settings import load

OPTIONS = UserOptions(
    image="registry/r2d-o-2dr:c", token="the-token", repo_url="https://github.com/o/r", binder_ref_url="https://github.com/o/r/tree/c",
    binder_launch_host="https://binder.example.org/", binder_request="v2/gh/o/r/HEAD", binder_persistent_request="v2/gh/o/r/c",
    binder_client_ip="192.0.2.1", extra={"environment": {"COURSE": "a"}},
)


def pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A server's pod."""
    if state is not None:
        status["containerStatuses"] = [{"name": "notebook", "state": state}]
    return {"metadata": {"name": "p"}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """A pod whose container waits."""
    return pod({"waiting": {"reason": reason, "message": message}}, phase="Pending")


FINE = {
    "new": pod(phase="Pending"), "pulling": waiting("ContainerCreating"), "running": pod({"running": {}}, phase="Running"),
}
WRONG: dict[str, tuple[dict[str, Any], str, Verdict]] = {
    "image gone": (waiting("ErrImagePull", "manifest for r/x:1 not found: manifest unknown"), "not in the registry", VANISHED),
    "registry away": (waiting("ImagePullBackOff", "dial tcp: connection refused"), "cannot be pulled", UNLUCKY),
    "bad name": (waiting("InvalidImageName", "couldn't parse"), "cannot be made", BROKEN),
    "no secret": (waiting("CreateContainerConfigError", "secret not found"), "cannot be made", BROKEN),
    "no python": (pod({"terminated": {"exitCode": 127}}, phase="Failed"), "status 127", BROKEN),
    "out of memory": (pod({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, phase="Failed"), "more memory", BROKEN),
    "evicted": (pod(phase="Failed", reason="Evicted"), "Evicted", UNLUCKY),
    "full": (pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available."}]),
             "No node", UNLUCKY),
}


@pytest.mark.parametrize("case", FINE)
def test_a_pod_that_starts_is_no_trouble(case: str) -> None:
    """Waiting is not failing."""
    assert trouble(FINE[case]) is None


@pytest.mark.parametrize("case", WRONG)
def test_trouble_has_a_sentence_and_a_verdict(case: str) -> None:
    """The verdict says whether another attempt, another build or nothing can help."""
    status, words, verdict = WRONG[case]
    found = trouble(status)
    assert found is not None
    assert words in found.sentence
    assert found.verdict == verdict


@pytest.mark.parametrize(("text", "size"), [("512Mi", 512 << 20), ("2Gi", 2 << 30), ("1G", 10**9), ("0.5Gi", 1 << 29), ("7", 7)])
def test_quantities(text: str, size: int) -> None:
    """As Kubernetes writes them; JupyterHub's own units are others."""
    assert quantity(text) == size


@pytest.mark.parametrize("text", ["", "2 GB", "two", "-1Gi"])
def test_what_is_no_quantity(text: str) -> None:
    """Said at the start, not at the first launch."""
    with pytest.raises(ValueError, match="quantity"):
        quantity(text)


def configured(**environ: str) -> Any:
    """The hub's configuration for these settings."""
    config = Config()
    configure(config, load({"DOCKYARD_HUB_URL": "http://hub.ns.svc:8081/hub/api/", **environ}))
    return config


def test_the_hub_listens_on_its_own_addresses_and_is_reached_by_its_service() -> None:
    """A service's name is no address of the hub's pod."""
    hub = configured().JupyterHub
    assert hub.hub_bind_url == "http://:8081/"
    assert hub.hub_connect_url == "http://hub.ns.svc:8081/"
    below = configured(DOCKYARD_HUB_URL="http://hub:8081/jupyter/hub/api/").JupyterHub
    assert below.hub_bind_url == "http://:8081/jupyter/"


def test_servers_are_nobody() -> None:
    """No account, no capability, no root, no new privileges; limits from the settings."""
    spawner = configured(DOCKYARD_KUBERNETES_SERVER_MEMORY_LIMIT="3Gi", DOCKYARD_KUBERNETES_USERS="people").DockyardKubeSpawner
    assert spawner.namespace == "people"
    assert spawner.mem_limit == 3 << 30
    assert spawner.automount_service_account_token is False
    assert spawner.allow_privilege_escalation is False
    assert spawner.container_security_context == {"capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    assert spawner.extra_pod_config["restartPolicy"] == "Never"
    assert spawner.extra_labels["dockyard/instance"] == "dockyard"


def test_servers_are_found_by_the_labels_that_kubespawner_writes() -> None:
    """KubeSpawner's component label wins over ours, so reaper and network policies have to select by it."""
    spawner = configured().DockyardKubeSpawner
    written = {**spawner.extra_labels, "app.kubernetes.io/component": DockyardKubeSpawner.component_label.default_value}
    assert "component_label" not in spawner
    assert dict(part.split("=") for part in servers_of("dockyard").split(",")).items() <= written.items()


class Asked(DockyardKubeSpawner):  # type: ignore[misc]
    """The spawner without a hub around it: only what a launch says."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.user_options = options


def test_the_environment_of_a_launch_is_checked() -> None:
    """Names that are none are refused with a sentence."""
    with pytest.raises(StartFailed):
        Asked({"environment": {"A=B": "c"}}).get_env()
    with pytest.raises(StartFailed):
        Asked({"environment": ["A"]}).get_env()


class Cluster:
    """An API server that answers as it is told: statuses for the next pods, and whether the owner can be read."""

    def __init__(self, *refusals: tuple[int, str], owner: int = 200) -> None:
        self.refusals, self.owner, self.made = list(refusals), owner, []

    async def read_namespaced_config_map(self, name: str, namespace: str) -> Any:
        if self.owner != 200:
            raise ApiException(self.owner, "on purpose")
        return SimpleNamespace(metadata=SimpleNamespace(uid=f"uid of {namespace}/{name}"))

    async def create_namespaced_pod(self, namespace: str, made: V1Pod) -> None:
        if self.refusals:
            status, words = self.refusals.pop(0)
            error = ApiException(status, "on purpose")
            error.body = words
            raise error
        self.made.append(made)


async def made(cluster: Cluster, owner: str = "ours") -> list[bool]:
    """What the attempts to make a pod came to, up to the one that was taken."""
    spawner = Asked({})
    spawner.api, spawner.owner, spawner.namespace, spawner.pod_name = cluster, owner, "people", "p"
    found: list[bool] = []
    while not cluster.made:
        found.append(await spawner._make_create_pod_request(V1Pod(metadata=V1ObjectMeta(name="p")), 3))
    assert spawner._full is None
    return found


async def test_a_pod_that_the_cluster_does_not_take_yet_is_asked_for_again() -> None:
    """A quota that is used up, an API server that is busy or away; what a role does not allow is an error."""
    quota = (403, 'pods "p" is forbidden: exceeded quota: people, requested: pods=1, used: pods=1, limited: pods=1')
    assert await made(Cluster(quota, (503, "etcd"), (429, "slow down"), quota)) == [False, False, False, False, True]
    with pytest.raises(ApiException):
        await made(Cluster((403, 'User "x" cannot create resource "pods"')))
    spawner = Asked({})
    spawner.api, spawner.pod_name = Cluster(quota), "p"
    assert not await spawner._make_create_pod_request(V1Pod(metadata=V1ObjectMeta(name="p")), 3)
    assert "quota" in spawner._full.sentence


async def test_a_pod_belongs_to_the_release() -> None:
    """So that the cluster removes it with the release; where its owner cannot be read, to nobody."""
    found = []
    for cluster in (Cluster(), Cluster(owner=404), Cluster(owner=403)):
        assert await made(cluster) == [True]
        found.append([each.uid for each in cluster.made[0].metadata.owner_references])
    assert found == [["uid of people/ours"], [], []]
    without = Cluster(owner=500)
    assert await made(without, owner="") == [True]
