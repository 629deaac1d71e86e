"""The admin scope: whoever shows the admin token, as a bearer or in the cookie of the ops page.

Tokens are compared in constant time. An empty `auth.admin_token` means that there is no admin. The cookie
is strict, so no other site's page makes a browser send it, and unreadable for scripts.
"""

import hashlib
import hmac

from starlette.requests import Request

from api.problems import Unauthorized
from api.services import services_of
from services.errors import Refused

COOKIE = "dockyard-ops"
_SENTENCE = "This needs the admin token, as `Authorization: Bearer …`."


def _same(given: str, token: str) -> bool:
    digests = (hashlib.sha256(text.encode()).digest() for text in (given, token))
    return bool(token) and hmac.compare_digest(*digests)


def bearer(request: Request) -> str:
    """The token that the request brings, or an empty text. Clients of JupyterHub write `token` for `Bearer`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "token") else ""


def is_token(request: Request, given: str) -> bool:
    """Whether a text is the admin token."""
    return _same(given, services_of(request).settings.auth.admin_token.get_secret_value())


def is_admin(request: Request) -> bool:
    """Whether the request has the admin scope."""
    given = bearer(request)
    return is_token(request, given or request.cookies.get(COOKIE, ""))


def need_admin(request: Request) -> None:
    """A dependency: raises `Unauthorized` without a token and `Refused` with a wrong one."""
    if is_admin(request):
        return
    if bearer(request):
        raise Refused("This token does not have the admin scope.")
    raise Unauthorized(_SENTENCE)


def may_open(request: Request, server_token: str) -> bool:
    """Whether the request may act on a server: as admin, or by showing the token that opens it."""
    return is_admin(request) or _same(bearer(request), server_token)
