"""Settings of the runtime `docker`."""

from typing import ClassVar, Literal

from pydantic import Field

from services.settings.base import Group


class DockerSettings(Group):
    """Builds and servers in containers of a Docker engine."""

    group: ClassVar[str] = "docker"
    host: str = Field("", description="Address of the engine; empty: DOCKER_HOST, else unix:///var/run/docker.sock.")
    installation: str = Field("dockyard", pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="Label of all containers of this installation; two installations on one engine need two names.")
    labels: list[str] = Field(default_factory=list, description="Further labels (key=value) of all containers, such as those by which docker compose knows what belongs to a project.")
    builder: Literal["contained", "engine"] = Field("contained", description="contained: a builder inside of the build container, without the engine's socket, bound by its limits; engine: buildx on the engine, faster, for trusted repositories only.")
    build_image: str = Field("dockyard/build:latest", description="Image that builds run in; made from deploy/build.")
    socket: str = Field("/var/run/docker.sock", description="Path of the engine's socket on the engine's machine, given to build containers of the builder engine.")
    build_network: str = Field("", description="Network of build containers; empty: one of their own, <installation>-builds, made where it is missing.")
    build_memory: int = Field(4 << 30, ge=64 << 20, description="Bytes of memory of a build. Binds RUN steps with the contained builder only.")
    build_cpus: float = Field(0.0, ge=0, description="Cores of a build; 0: no limit.")
    build_processes: int = Field(1024, ge=16, description="Processes and threads of a build.")
    build_bytes: int = Field(16 << 30, ge=64 << 20, description="Bytes on disk that a build may take, its base image included; looked at every few seconds.")
    build_idle: float = Field(900.0, ge=0, description="Seconds without a line of log after which a build is stopped; 0: never.")
    build_log_bytes: int = Field(64 << 20, ge=1 << 16, description="Bytes of log after which a build is stopped.")
    seccomp: str = Field("", description="Seccomp profile (JSON file) of contained builds; empty: the one in deploy/build; unconfined: none.")
    bases: list[str] = Field(default_factory=list, description="Images that contained builds find ready, taken from the engine once for all builds; the base_image is one of them.")
    repo2docker_args: list[str] = Field(default_factory=list, description="Further arguments of repo2docker.")
    appendix: str = Field("", description="Lines at the end of every Dockerfile that repo2docker makes; {binder_url} and {repo_url} are filled in.")
    base_image: str = Field("", description="Base image of what repo2docker builds; empty: repo2docker's own.")
    default_buildpack: str = Field("", description="Buildpack (module:Class) for repositories without an environment; empty: repo2docker's own, or the uv buildpack where it is on.")
    uv: bool = Field(False, description="Build requirements.txt, pyproject.toml, Pipfile.lock and the pip part of environment.yml with uv and Debian's or Ubuntu's Python, without conda.")
    jupyter: list[str] = Field(default_factory=list, description="With uv: requirements that every environment gets beside the repository's own; empty: jupyterlab 4, notebook 7, jupyterhub 6, ipywidgets 8.")
    ca: str = Field("", description="File with further certificate authorities (PEM) that build containers trust.")
    layers: bool = Field(True, description="Whether a commit that changes only content gets its environment's image and one layer, without a build; needs a registry.")
    server_network: str = Field("dockyard-servers", description="Network of user servers, made where it is missing; nothing of ours should be in it.")
    wall: Literal["try", "require", "off"] = Field("try", description="Rules of the machine's packet filter that hold builds and servers to `egress`: written by a container in the machine's network. require: without them nothing is built or served; try: a warning in the log; off: you have rules of your own.")
    server_memory: int = Field(2 << 30, ge=64 << 20, description="Bytes of memory of a server.")
    server_cpus: float = Field(0.0, ge=0, description="Cores of a server; 0: no limit.")
    server_processes: int = Field(512, ge=16, description="Processes and threads of a server.")
    server_bytes: int = Field(0, ge=0, description="Bytes on disk of a server; needs a storage driver with quotas (overlay2 on xfs with pquota); 0: no limit.")
    server_patience: float = Field(120.0, gt=0, description="Seconds from the start of a server's container until it has to answer.")

    def builds_network(self) -> str:
        """The network of build containers."""
        return self.build_network or f"{self.installation}-builds"

    def further_labels(self) -> dict[str, str]:
        """`labels`, taken apart."""
        return {key: value for key, _, value in (label.partition("=") for label in self.labels)}
