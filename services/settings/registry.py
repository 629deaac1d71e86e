"""Settings of the image registry."""

from typing import ClassVar

from pydantic import Field, SecretStr

from services.settings.base import Group


class RegistrySettings(Group):
    """The registry that images are pushed to and found in."""

    group: ClassVar[str] = "registry"
    url: str = Field("", pattern=r"^(https?://[^/]+)?/?$", description="Where the registry answers this process, such as https://registry.example.org; empty: no registry, the engine's own store serves. The name that engines pull by is the host in builds.image_prefix.")
    username: str = Field("", description="User at the registry; empty: what docker_config says.")
    password: SecretStr = Field(SecretStr(""), description="Password or token of that user.")
    docker_config: str = Field("", description="A config.json of Docker (or its directory) with credentials or credential helpers, read where no username is set.")
    token_url: str = Field("", description="Where tokens are fetched; empty: where the registry says.")
    not_found_401: bool = Field(False, description="Whether a registry that refuses a valid token for a repository (401) means that there is none, as Docker Hub does.")
    ca: str = Field("", description="File with further certificate authorities (PEM) for the registry.")
    timeout: float = Field(10.0, gt=0, description="Seconds to wait for an answer; transfers may take longer as long as bytes flow.")
