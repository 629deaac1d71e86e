"""Settings of the runtime `local`."""

from typing import ClassVar

from pydantic import Field

from services.settings.base import Group


class LocalSettings(Group):
    """Builds and servers as sandboxed processes on this machine."""

    group: ClassVar[str] = "local"
    directory: str = Field("", description="Where environments, images, builds and servers are kept; empty: <home>/local.")
    build_memory: int = Field(4 << 30, ge=64 << 20, description="Bytes of memory a build may use.")
    build_processes: int = Field(512, ge=16, description="Processes and threads a build may have.")
    server_memory: int = Field(2 << 30, ge=64 << 20, description="Bytes of memory a server may use.")
    server_processes: int = Field(256, ge=16, description="Processes and threads a server may have.")
    files: int = Field(4096, ge=256, description="Open files of a build or server.")
    file_bytes: int = Field(8 << 30, ge=1 << 20, description="Bytes of one file that a build or server may write.")
    repository_bytes: int = Field(2 << 30, ge=1 << 20, description="Bytes that a repository may have when checked out.")
    fetch_timeout: float = Field(600.0, gt=0, description="Seconds that fetching a repository may take.")
    jupyter: list[str] = Field(default_factory=lambda: ["jupyterlab==4.*", "notebook==7.*", "ipykernel"], description="Requirements that every environment gets beside the repository's own.")
    uid: int = Field(0, ge=0, description="When started as root: the first of the user ids that builds and servers run as; 0: chosen by `up`.")
