"""Settings of the runtime `kubernetes`."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from services.settings.base import Group


class KubernetesSettings(Group):
    """Builds as pods, servers by KubeSpawner. Quantities are written as Kubernetes writes them: 500m, 2Gi; empty: none."""

    group: ClassVar[str] = "kubernetes"
    kubeconfig: str = Field("", description="File that leads to the cluster; empty: the pod's service account, and outside of a cluster $KUBECONFIG or ~/.kube/config.")
    context: str = Field("", description="Context of that file; empty: the current one.")
    namespace: str = Field("", description="Namespace of the builds; empty: the one of the pod or of the context.")
    users: str = Field("", description="Namespace of the user servers; empty: the same as the builds'.")
    instance: str = Field("dockyard", pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$", description="Label value that tells this installation's pods from another's.")
    owner: str = Field("", description="ConfigMap in each of the two namespaces that build pods and user servers belong to, so that the cluster removes them with it; the chart makes one, which goes when the release is uninstalled. Empty: they belong to nobody.")
    build_image: str = Field("dockyard/build:latest", description="Image that builds run in; made from deploy/build.")
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = Field("", description="When the build image is pulled; empty: as the cluster decides from its tag.")
    pull_secrets: list[str] = Field(default_factory=list, description="Secrets that the build image is pulled with.")
    push_secret: str = Field("", description="Secret (type kubernetes.io/dockerconfigjson) that images are pushed with; in the builds' namespace.")
    ca_configmap: str = Field("", description="ConfigMap whose key `ca.crt` holds the certificates that builds trust beside the public ones.")
    registries_configmap: str = Field("", description="ConfigMap of files for /etc/containers/registries.conf.d of the contained builder, such as mirrors of Docker Hub.")
    builder: Literal["contained", "dind", "pink", "host"] = Field("contained", description="contained: a builder inside the build container, bound by its limits. dind, pink: a Docker or Podman daemon per node, shared by the builds there. host: the node's own Docker socket; for trusted repositories alone.")
    socket: str = Field("", description="Path of the daemon's socket on the nodes; empty: the usual one of the builder.")
    cpu_request: str = Field("200m", description="CPU that a build is sure of.")
    cpu_limit: str = Field("2", description="CPU that a build may use.")
    memory_request: str = Field("512Mi", description="Memory that a build is sure of.")
    memory_limit: str = Field("4Gi", description="Memory that a build may use.")
    disk_request: str = Field("2Gi", description="Ephemeral storage that a build is sure of.")
    disk_limit: str = Field("20Gi", description="Ephemeral storage that a build may use.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of the nodes that build.")
    tolerations: list[dict[str, Any]] = Field(default_factory=list, description="Taints that builds tolerate, as Kubernetes writes tolerations.")
    affinity: dict[str, Any] = Field(default_factory=dict, description="Affinity of build pods, as Kubernetes writes it; goes before `sticky`.")
    sticky: bool = Field(True, description="Whether builds of one repository prefer the same node, where its layers are.")
    priority_class: str = Field("", description="Priority class of build pods.")
    runtime_class: str = Field("", description="Runtime class of build pods, such as gvisor.")
    seccomp: str = Field("Unconfined", pattern=r"^(Unconfined|RuntimeDefault|Localhost/.+)$", description="Seccomp profile of the contained builder, which makes namespaces and mounts of its own: Unconfined, or Localhost/<file> for the narrower profile of the chart's documentation.")
    user_namespace: bool = Field(False, description="Run build pods in a user namespace (Kubernetes 1.33 and later): root inside is nobody outside.")
    labels: dict[str, str] = Field(default_factory=dict, description="Further labels of build pods.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Further annotations of build pods.")
    environment: dict[str, str] = Field(default_factory=dict, description="Further environment of the build container, such as an HTTP proxy.")
    idle: float = Field(900.0, ge=0, description="Seconds without a line of log after which a build is stopped; 0: never.")
    schedule: float = Field(600.0, gt=0, description="Seconds that a build may wait for a node with room, for instance until the cluster has grown.")
    pull: float = Field(60.0, gt=0, description="Seconds that the build image may be unavailable.")
    patience: float = Field(600.0, gt=0, description="Seconds that the API server may be away before work that needs it is given up.")
    resync: float = Field(60.0, gt=0, description="Seconds between two full lists of the build pods, beside the watch.")
    server_selector: str = Field("", description="Labels of the pods of user servers, as a selector; empty: those that the chart's hub makes. For a zero-to-jupyterhub of yours, the labels of singleuser.extraLabels.")
    server_memory_request: str = Field("256Mi", description="Memory that a server is sure of.")
    server_memory_limit: str = Field("2Gi", description="Memory that a server may use.")
    server_cpu_request: float = Field(0.05, ge=0, description="Cores that a server is sure of.")
    server_cpu_limit: float = Field(2.0, ge=0, description="Cores that a server may use; 0: no limit.")
    server_node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of the nodes that serve users.")
    server_tolerations: list[dict[str, Any]] = Field(default_factory=list, description="Taints that servers tolerate.")
    server_pull_secrets: list[str] = Field(default_factory=list, description="Secrets that servers' images are pulled with; in the users' namespace.")
    server_runtime_class: str = Field("", description="Runtime class of user servers, such as gvisor.")
    server_start: float = Field(300.0, gt=0, description="Seconds that a server's pod may take to start, its image's pull included.")
    hub_port: int = Field(8081, ge=1, le=65535, description="Port on which the hub listens inside of the cluster.")
