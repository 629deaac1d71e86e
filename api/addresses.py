"""Addresses of ours and into user servers: what stands in links, badges and redirects."""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode, urljoin, urlsplit, urlunsplit

from starlette.requests import Request

from services.settings import FrontSettings

# What JavaScript's encodeURI leaves alone, which is what existing links were made with.
_ENCODE_URI = "!#$&'()*+,-./:;=?@_~"


def public_url(request: Request, front: FrontSettings) -> str:
    """The front door as this client sees it, with the base path; ends with a slash."""
    if front.public_url:
        return front.public_url.rstrip("/") + "/"
    host = request.headers.get("host", "localhost")
    return f"{request.scope['scheme']}://{host}{front.base_url}"


def opens(query: Mapping[str, str]) -> str:
    """What a launch link's query wants opened in the server, as a path with query relative to the server's address.

    `labpath` wins over `filepath` wins over `urlpath`, as in BinderHub's client; empty means the server's
    default. A `urlpath` is taken as it is (nbgitpuller's holds a whole quoted query), but for leading
    slashes.
    """
    if any(character < " " for value in query.values() for character in value):
        return ""  # nobody means that, and not everything can store it
    if path := query.get("labpath", ""):
        return "doc/tree/" + quote(path.strip("/"), safe=_ENCODE_URI)
    if path := query.get("filepath", ""):
        return "tree/" + quote(path.strip("/"), safe=_ENCODE_URI)
    return query.get("urlpath", "").lstrip("/")


def server_address(url: str, urlpath: str, token: str) -> str:
    """The address to send the browser to: the server's, what to open there, and the token.

    `urlpath` comes from a link that anybody may have written; it cannot lead off the server.
    """
    home = urlsplit(url)
    address = home if _climbs(urlpath) else urlsplit(urljoin(url, urlpath))
    if (address.scheme, address.netloc) != (home.scheme, home.netloc) or not address.path.startswith(home.path):
        address = home
    query = "&".join(filter(None, [address.query, urlencode({"token": token}) if token else ""]))
    return urlunsplit(address._replace(query=query))


def _climbs(urlpath: str) -> bool:
    """Whether a browser would find a way up in a path, which it does in more spellings than `urljoin` knows.

    A neighbour's server has the same origin, and would be sent the token. Browsers read a backslash as a slash, `%2e` as a
    dot, and leave out tabs and line ends (WHATWG URL, §4.4).
    """
    path = re.split(r"[?#]", urlpath, maxsplit=1)[0].replace("\\", "/").lower().replace("%2e", ".")
    return any(part == ".." for part in path.split("/")) or any(character < " " for character in urlpath)


def what_opens(urlpath: str) -> str:
    """The name of what a path opens, for "Opening …"."""
    first = urlpath.partition("?")[0].partition("/")[0].lower()
    known = {
        "": "JupyterLab", "lab": "JupyterLab", "doc": "JupyterLab", "tree": "Jupyter Notebook",
        "notebooks": "Jupyter Notebook", "rstudio": "RStudio", "shiny": "Shiny", "voila": "Voilà",
        "git-pull": "JupyterLab", "desktop": "the desktop", "vscode": "VS Code",
    }
    return known.get(first, "your server")
