"""What a pasted link means, and everything that shares it.

The grammar of links stands in `services.providers.links`; the home page's script asks here, so it needs
none of its own. What opens in the server is one field on that page: a path in the repository, with a slash
at its end if it is a directory, or, with a slash at its begin, a path in the server.
"""

from urllib.parse import quote, unquote, urlencode

from fastapi import Request

from api.accept import parse
from api.addresses import public_url
from api.bodies import Badges, Link
from api.layouts import layout_of
from api.services import services_of
from services.errors import BadRequest, UnknownProvider
from services.providers import layout as layouts
from services.providers.links import read_link

_ALT = "Launch on Dockyard"


def link_of_text(request: Request, text: str) -> Link:
    """What a pasted link means; raises `BadRequest` with a sentence for what cannot be understood."""
    found = read_link(text, services_of(request).providers)
    path = found.file or (f"{found.directory.rstrip('/')}/" if found.directory else "") or _path_of(found.urlpath.lstrip("/"))
    return _shared(request, found.provider, found.spec, found.repo, found.ref, path, found.note, found.subdir, found.environment)


def link_of_parts(
    request: Request, provider: str, repo: str, ref: str, path: str, subdir: str = "", environment: str = "",
) -> Link:
    """A link made of its parts, by the rules of `/api/repoproviders`."""
    found = services_of(request).providers.get(provider)
    if found is None:
        raise UnknownProvider(f"No provider found for prefix {provider}")
    if not repo:
        raise BadRequest("The repository is missing.")
    display = found.display
    spec = quote(repo, safe="" if display["repo"].get("urlEncode") else "/").strip("/")
    if display["ref"].get("enabled"):
        spec = f"{spec}/{quote(ref or display['ref'].get('default') or 'HEAD', safe='/')}"
    return _shared(request, provider, spec, repo, ref, path, subdir=subdir, environment=environment)


def _shared(
    request: Request, provider: str, spec: str, repo: str, ref: str, path: str, note: str = "", subdir: str = "", environment: str = "",
) -> Link:
    """A link with everything that shares it; raises what `parse` raises for a spec that is wrong."""
    services = services_of(request)
    parse(services, provider, spec)
    layout = layout_of(services, {"subdir": subdir, "environment": environment})
    urlpath = _opens(path)
    query = {"labpath": path} if urlpath.startswith("doc/tree/") else {"urlpath": urlpath} if urlpath else {}
    query = {**layouts.query(layout.subdir, layout.environment_link), **query}
    below = f"v2/{provider}/{spec}" + (f"?{urlencode(query, quote_via=quote, safe='/')}" if query else "")
    public = public_url(request, services.settings.front)
    page, badge = public + below, public + "badge_logo.svg"
    return Link(
        provider=provider, repo=repo, ref="" if ref == "HEAD" else ref, path=path, spec=spec, urlpath=urlpath, note=note,
        subdir=layout.subdir, environment=layout.environment_link, launch=services.settings.front.base_url + below, page=page,
        badges=Badges(
            markdown=f"[![{_ALT}]({badge})]({page})", rst=f".. image:: {badge}\n   :target: {page}\n   :alt: {_ALT}",
            html=f'<a href="{page}"><img src="{badge}" alt="{_ALT}"></a>',
        ),
    )


def _opens(path: str) -> str:
    """The path in the server for the one field."""
    if path.startswith("/"):
        return path.lstrip("/")
    if path.endswith("/"):
        return f"lab/tree/{quote(path.rstrip('/'))}"
    return f"doc/tree/{quote(path)}" if path else ""


def _path_of(urlpath: str) -> str:
    """The field's text for a path in the server."""
    if urlpath.startswith("doc/tree/") and "?" not in urlpath:
        return unquote(urlpath.removeprefix("doc/tree/"))
    return f"/{urlpath}" if urlpath else ""
