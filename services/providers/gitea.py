"""Forges that run Gitea or Forgejo: `codeberg/user/repository/ref`, and `gitea/…` for one of one's own."""

from urllib.parse import unquote

from services.errors import Misconfigured
from services.providers.origin import Origin, origin
from services.providers.pages import split_file
from services.providers.plain_forge import PlainForge, Shape
from services.settings import EgressSettings, ProviderSettings


def make_codeberg(providers: ProviderSettings, egress: EgressSettings) -> PlainForge:
    """The provider of Codeberg."""
    return _forge("codeberg", "Codeberg", origin(providers.codeberg_host, "providers.codeberg_host"), providers, egress)


def make_gitea(providers: ProviderSettings, egress: EgressSettings) -> PlainForge:
    """The provider of the configured Gitea or Forgejo; raises `Misconfigured` where none is."""
    if not providers.gitea_host:
        raise Misconfigured("Setting providers.gitea_host is empty, but providers.enabled offers gitea; name its host.")
    home = origin(providers.gitea_host, "providers.gitea_host")
    return _forge("gitea", f"Gitea on {home.host}", home, providers, egress)


def _forge(prefix: str, name: str, home: Origin, providers: ProviderSettings, egress: EgressSettings) -> PlainForge:
    shape = Shape(prefix, name, home, "user/repository", "/src/commit/{commit}", gitea_page)
    return PlainForge(shape, providers, egress)


def gitea_page(path: str) -> tuple[str, str, str, str]:
    """`src/branch/ref/path` (the ref's slashes escaped), `commit/id`, `releases/tag/ref`, `pulls/number`."""
    kind, _, rest = path.partition("/")
    how, _, rest = rest.partition("/")
    ref, _, inside = rest.partition("/")
    if kind in ("src", "raw") and how in ("branch", "tag", "commit") and ref:
        return unquote(ref), *split_file(unquote(inside)), ""
    if kind == "commit" and how:
        return how, "", "", ""
    if kind == "releases" and how == "tag" and rest:
        return unquote(rest), "", "", ""
    if kind == "pulls" and how.isdecimal():
        return f"pull/{how}/head", "", "", ""
    return "HEAD", "", "", ""
