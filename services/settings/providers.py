"""Settings of the providers and of everything that fetches on a stranger's word."""

from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from services.errors import BadRequest
from services.patterns import Expression
from services.settings.base import Group

# BinderHub's, in its order, then ours. `gitea` has no host that could be meant by everybody.
_OFFERED = (
    "gh", "gist", "git", "gl", "zenodo", "figshare", "hydroshare", "dataverse", "ckan", "bitbucket", "codeberg", "swh", "osf",
)

def readable(texts: list[str]) -> list[str]:
    """Regular expressions of a setting; what is none is told when settings are read, before anything starts."""
    for text in texts:
        try:
            Expression(text)
        except BadRequest as error:
            raise ValueError(error.sentence.rstrip(".")) from None
    return texts


class ProviderSettings(Group):
    """The forges that links may lead to."""

    group: ClassVar[str] = "providers"
    enabled: list[str] = Field(default_factory=lambda: list(_OFFERED), description="Prefixes of the providers that are offered, in the order of the home page.")
    github_host: str = Field("github.com", description="Host of GitHub, or of a GitHub Enterprise server; like every host here with :port where needed, and with http:// where there is no TLS.")
    github_api: str = Field("https://api.github.com", description="Base address of GitHub's REST API.")
    github_token: SecretStr = Field(SecretStr(""), description="Token for GitHub's API and git: a higher limit, private repositories. Everybody who may launch may then launch those.")
    github_client_id: str = Field("", description="Id of an OAuth application of GitHub; with its secret it raises the API's limit where there is no token.")
    github_client_secret: SecretStr = Field(SecretStr(""), description="Secret of that application.")
    gitlab_host: str = Field("gitlab.com", description="Host of GitLab.")
    gitlab_api: str = Field("", description="Base address of GitLab's API; empty: https://<gitlab_host>/api/v4.")
    gitlab_token: SecretStr = Field(SecretStr(""), description="Access token for GitLab's API and git; as github_token.")
    gist_host: str = Field("gist.github.com", description="Host of gists.")
    doi_url: str = Field("https://doi.org", description="Base address that resolves DOIs.")
    figshare_api: str = Field("https://api.figshare.com/v2", description="Base address of Figshare's API.")
    hydroshare_url: str = Field("https://www.hydroshare.org", description="Base address of HydroShare.")
    swh_url: str = Field("https://archive.softwareheritage.org", description="Base address of Software Heritage's archive.")
    osf_url: str = Field("https://osf.io", description="Base address of the Open Science Framework.")
    osf_api: str = Field("https://api.osf.io/v2", description="Base address of the Open Science Framework's API.")
    bitbucket_host: str = Field("bitbucket.org", description="Host of Bitbucket.")
    codeberg_host: str = Field("codeberg.org", description="Host of Codeberg.")
    gitea_host: str = Field("", description="Host of a Gitea or Forgejo of one's own, for the provider gitea.")
    git_credentials: dict[str, SecretStr] = Field(default_factory=dict, description="Logins for private repositories by host (host, host:port, or http://host:port where there is no TLS): username=…\\npassword=…, as BinderHub's. Given to git when that host asks for a login, and to no other host.")
    secret_gists: bool = Field(False, description="Whether secret gists may be launched.")
    banned: list[str] = Field(default_factory=list, description="Specs that may not be launched: regular expressions (of RE2, from the begin on, ignoring case) against provider/spec and the repository's name, such as github.com/org/name. ./dockyard rules does the same at run time.")
    allowed: list[str] = Field(default_factory=list, description="If there are any, only specs that one of these matches may be launched; as banned, which wins.")
    timeout: float = Field(10.0, gt=0, description="Seconds to wait for a forge.")

    @field_validator("banned", "allowed")
    @classmethod
    def _readable(cls, texts: list[str]) -> list[str]:
        return readable(texts)


class EgressSettings(Group):
    """What may be fetched on a stranger's word, and what builds and servers may connect to."""

    group: ClassVar[str] = "egress"
    private: bool = Field(False, description="Whether private and loopback addresses may be fetched from; on in the embedded default, for repositories on your own machine and network.")
    allowed: list[str] = Field(default_factory=list, description="Hosts or networks that may always be reached, such as a package mirror.")
    refused: list[str] = Field(default_factory=list, description="Networks or host:port pairs that may never be reached, such as the control plane's.")
    ports: list[int] = Field(default_factory=list, description="Ports that builds and servers may connect to; empty: all.")
