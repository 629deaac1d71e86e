"""The providers: one file each, one line each in the table below.

`services.providers.base` says what a provider is, `links` reads what people paste.
"""

from collections.abc import Callable

from services.errors import Misconfigured
from services.providers.base import Link, Provider, Resolved, Spec
from services.providers.bitbucket import make_bitbucket
from services.providers.ckan import Ckan
from services.providers.dataverse import Dataverse
from services.providers.figshare import Figshare
from services.providers.gh import GitHub
from services.providers.gist import Gist
from services.providers.git import Git
from services.providers.gitea import make_codeberg, make_gitea
from services.providers.gl import GitLab
from services.providers.hydroshare import HydroShare
from services.providers.origin import forges
from services.providers.osf import OpenScienceFramework
from services.providers.swh import SoftwareHeritage
from services.providers.zenodo import Zenodo
from services.settings import EgressSettings, ProviderSettings

TABLE: dict[str, Callable[[ProviderSettings, EgressSettings], Provider]] = {
    "gh": GitHub,
    "gist": Gist,
    "git": Git,
    "gl": GitLab,
    "zenodo": Zenodo,
    "figshare": Figshare,
    "hydroshare": HydroShare,
    "dataverse": Dataverse,
    "ckan": Ckan,
    "bitbucket": make_bitbucket,
    "codeberg": make_codeberg,
    "gitea": make_gitea,
    "swh": SoftwareHeritage,
    "osf": OpenScienceFramework,
}

__all__ = ["TABLE", "Link", "Provider", "Resolved", "Spec", "forges", "make_providers"]


def make_providers(providers: ProviderSettings, egress: EgressSettings) -> dict[str, Provider]:
    """The enabled providers by prefix, in the order of the home page. Raises `Misconfigured`.

    They open connections when they first need one, in the event loop of that moment; close them with
    `aclose`.
    """
    for prefix in providers.enabled:
        if prefix not in TABLE:
            raise Misconfigured(f"Setting providers.enabled: {prefix!r} is unknown; known are {', '.join(TABLE)}.")
    return {prefix: TABLE[prefix](providers, egress) for prefix in providers.enabled}
