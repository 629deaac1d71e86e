"""What a pasted link means, and everything that shares it.

The grammar of links stands in `services.providers.links`; the home page's script asks here, so it needs none of its own.
"""

from urllib.parse import quote, urlencode

from fastapi import Request

from api.accept import parse
from api.addresses import public_url
from api.bodies import Badges, Link
from api.services import services_of
from services.errors import BadRequest, UnknownProvider

_ALT = "Launch on Dockyard"
_SPEC = "/%:@!$&'()*+,;=-._~"


def link_of_parts(request: Request, provider: str, repo: str, ref: str, path: str) -> Link:
    """A link made of its parts, by the rules of `/api/repoproviders`."""
    found = services_of(request).providers.get(provider)
    if found is None:
        raise UnknownProvider(f"No provider found for prefix {provider}")
    if not repo:
        raise BadRequest("The repository is missing.")
    display = found.display
    spec = quote(repo, safe="") if display["repo"].get("urlEncode") else repo.strip("/")
    if display["ref"].get("enabled"):
        spec = f"{spec}/{ref or display['ref'].get('default') or 'HEAD'}"
    return shared(request, provider, spec, repo, ref, path)


def shared(request: Request, provider: str, spec: str, repo: str, ref: str, path: str, urlpath: str = "") -> Link:
    """A link with everything that shares it; raises what `parse` raises for a spec that is wrong."""
    services = services_of(request)
    parse(services, provider, spec)
    query = urlencode({"labpath": path} if path else {"urlpath": urlpath} if urlpath else {}, quote_via=quote, safe="/")
    below = f"v2/{provider}/{quote(spec, safe=_SPEC)}" + (f"?{query}" if query else "")
    public = public_url(request, services.settings.front)
    page, badge = public + below, public + "badge_logo.svg"
    return Link(
        provider=provider, repo=repo, ref=ref, path=path, spec=spec, urlpath=f"doc/tree/{quote(path)}" if path else urlpath,
        launch=services.settings.front.base_url + below, page=page, badges=Badges(
            markdown=f"[![{_ALT}]({badge})]({page})", rst=f".. image:: {badge} :target: {page}",
            html=f'<a href="{page}"><img src="{badge}" alt="{_ALT}"></a>',
        ),
    )


def link_of_text(request: Request, link: str) -> Link:
    """What a pasted link means; raises `BadRequest` with a sentence for what cannot be understood."""
    raise BadRequest("This link cannot be understood.")
