"""The admin scope: whoever shows the admin token as a bearer, or has shown it to the ops page and got a cookie for it; and
the read scope, for a dashboard: its token reads the lists and can do nothing, so what it is shown holds no id that could.

Tokens are compared in constant time. An empty `auth.admin_token` means that there is no admin. Cookies know
no ports, and user servers may share our host name; so the cookie is sent below `/ops/` only, where no user
server can be, it runs out, and it is not the token itself but proof of having known it. It is strict, so no
other site's page makes a browser send it, and unreadable for scripts.
"""

import hashlib
import hmac
import time
from typing import Annotated

from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from api.middleware.origin import asked, is_own
from api.problems import Unauthorized
from api.services import services_of
from services.errors import Refused

_COOKIE = "dockyard-ops"
_LASTS = 12 * 3600  # seconds
_SENTENCE = "This needs the admin token, as `Authorization: Bearer …`."


def _same(given: str, token: str) -> bool:
    digests = (hashlib.sha256(text.encode()).digest() for text in (given, token))
    return bool(token) and hmac.compare_digest(*digests)


def bearer(request: Request) -> str:
    """The token that the request brings, or an empty text. Clients of JupyterHub write `token` for `Bearer`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "token") else ""


def _token(request: Request) -> str:
    return services_of(request).settings.auth.admin_token.get_secret_value()


def is_token(request: Request, given: str) -> bool:
    """Whether a text is the admin token."""
    return _same(given, _token(request))


def _proof(request: Request, until: int) -> str:
    return services_of(request).secret.derive("ops", f"{until}\n{_token(request)}").hex()


def sign_in(request: Request, response: Response) -> None:
    """Give the browser that has shown the token its cookie."""
    front = services_of(request).settings.front
    until = int(time.time()) + _LASTS
    response.set_cookie(
        _COOKIE, f"{until}.{_proof(request, until)}", max_age=_LASTS, path=f"{front.base_url}ops", httponly=True, samesite="strict",
        secure=request.scope["scheme"] == "https",
    )


def sign_out(request: Request, response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(_COOKIE, path=f"{services_of(request).settings.front.base_url}ops", httponly=True, samesite="strict")


def is_signed_in(request: Request) -> bool:
    """Whether the browser has a cookie of ours that has not run out."""
    until, _, proof = request.cookies.get(_COOKIE, "").partition(".")
    if not (until.isascii() and until.isdecimal() and len(until) < 12) or not _token(request):
        return False
    return int(until) > time.time() and _same(proof, _proof(request, int(until)))


def is_admin(request: Request) -> bool:
    """Whether the request has the admin scope. The cookie counts below `/ops` only."""
    if given := bearer(request):
        return is_token(request, given)
    return request.scope["path"].startswith("/ops") and _by_ourselves(request) and is_signed_in(request)


def _by_ourselves(request: Request) -> bool:
    """Whether a request that changes something comes from a page of ours. User servers may be on the same site, where the cookie
    is sent along, and `front.origins` may let every page launch; neither may act as the admin.
    """
    return request.method in ("GET", "HEAD") or is_own(asked(request.headers), request.headers.get("host", ""), request.scope["scheme"])


_scheme = HTTPBearer(auto_error=False, scheme_name="admin", description="The setting `auth.admin_token`; for lists also `auth.read_token`.")


def is_reader(request: Request) -> bool:
    """Whether the request shows the read token, and not the admin's."""
    given = bearer(request)
    token = services_of(request).settings.auth.read_token.get_secret_value()
    return bool(given) and not is_token(request, given) and _same(given, token)


def need_reader(request: Request, _: Annotated[object, Security(_scheme)] = None) -> None:
    """A dependency, as `need_admin`, of what the read token may see too."""
    if not is_reader(request):
        need_admin(request)


def need_admin(request: Request, _: Annotated[object, Security(_scheme)] = None) -> None:
    """A dependency: raises `Unauthorized` without a token and `Refused` with a wrong one."""
    if is_admin(request):
        return
    if bearer(request):
        raise Refused("This token does not have the admin scope.")
    raise Unauthorized(_SENTENCE)


def may_open(request: Request, server_token: str) -> bool:
    """Whether the request may act on a server: as admin, or by showing the token that opens it."""
    return is_admin(request) or _same(bearer(request), server_token)
