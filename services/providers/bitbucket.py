"""Bitbucket's cloud: `bitbucket/workspace/repository/ref`.

Its API has a limit of sixty requests an hour and knows no more about refs than its git server, so that is asked.
"""

from urllib.parse import unquote

from services.providers.origin import origin
from services.providers.pages import split_file
from services.providers.plain_forge import PlainForge, Shape
from services.settings import EgressSettings, ProviderSettings


def make_bitbucket(providers: ProviderSettings, egress: EgressSettings) -> PlainForge:
    """The provider of Bitbucket's cloud."""
    shape = Shape(
        prefix="bitbucket", name="Bitbucket", home=origin(providers.bitbucket_host, "providers.bitbucket_host"),
        example="workspace/repository", tree="/src/{commit}/", page=bitbucket_page,
    )
    return PlainForge(shape, providers, egress)


def bitbucket_page(path: str) -> tuple[str, str, str, str]:
    """`src/ref/path`, `branch/ref`, `commits/id`."""
    kind, _, rest = path.partition("/")
    ref, _, inside = rest.partition("/")
    if kind in ("src", "raw") and ref:
        return unquote(ref), *split_file(unquote(inside)), ""
    if kind in ("branch", "commits") and ref:
        return unquote(rest), "", "", ""
    return "HEAD", "", "", ""
