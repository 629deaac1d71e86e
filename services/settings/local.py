"""Settings of the runtime `local`."""

from typing import ClassVar

from pydantic import Field

from services.settings.base import Group


class LocalSettings(Group):
    """Builds and servers as sandboxed processes on this machine."""

    group: ClassVar[str] = "local"
    directory: str = Field("", description="Where environments, images, builds and servers are kept; empty: <home>/local.")
    egress: str = Field("", description="Directory of the egress proxy's sockets; empty: <home>/run/egress.")
    build_memory: int = Field(4 << 30, ge=64 << 20, description="Bytes of memory a build may use.")
    build_processes: int = Field(512, ge=16, description="Processes and threads a build may have.")
    server_memory: int = Field(2 << 30, ge=64 << 20, description="Bytes of memory a server may use.")
    server_processes: int = Field(256, ge=16, description="Processes and threads a server may have.")
    build_cpus: float = Field(0.0, ge=0, description="Cores' worth of time a build may use, where there are control groups; 0: no limit.")
    server_cpus: float = Field(0.0, ge=0, description="Cores' worth of time a server may use, where there are control groups; 0: no limit.")
    build_bytes: int = Field(16 << 30, ge=1 << 20, description="Bytes on disk that a build may take.")
    server_bytes: int = Field(8 << 30, ge=1 << 20, description="Bytes on disk that a server's home and /tmp may take.")
    free_bytes: int = Field(512 << 20, ge=0, description="Bytes that stay free on the disk: builds and servers are stopped before they take them.")
    build_idle: float = Field(900.0, ge=0, description="Seconds without a line of log after which a build is stopped; 0: never.")
    files: int = Field(4096, ge=256, description="Open files of a build or server.")
    file_bytes: int = Field(8 << 30, ge=1 << 20, description="Bytes of one file that a build or server may write.")
    repository_bytes: int = Field(2 << 30, ge=1 << 20, description="Bytes that a repository may have when checked out.")
    fetch_timeout: float = Field(600.0, gt=0, description="Seconds that fetching a repository may take.")
    jupyter: list[str] = Field(default_factory=lambda: ["jupyterlab==4.*", "notebook==7.*", "ipykernel", "ipywidgets==8.*"], description="Requirements that every environment gets beside the repository's own.")
    python: str = Field("", description="Version of Python (3.12) for repositories that name none; empty: repo2docker's default where it is installed, else the one that Dockyard runs on.")
    pythons: list[str] = Field(default_factory=list, description="Interpreters (patterns of paths) to offer beside those that are found.")
    conda: str = Field("https://conda.anaconda.org", description="Where conda's channels are; an environment.yml is solved by conda where this answers, else served from the package index as far as that goes.")
    uid: int = Field(0, ge=0, description="When started as root: the first of the 65,536 user ids that builds and servers run as; 0: 1879048192, a range that belongs to nobody.")
