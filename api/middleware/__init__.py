"""What stands between the network and the routes, as pure ASGI: thousands of streams a second pass here.

`around` puts them in their order, outermost first: who the client is, where the base path ends, headers on
every answer (also on refusals), then the checks, then the size of what is sent and of what comes back.
"""

from starlette.types import ASGIApp

from api.middleware.base_path import BasePath
from api.middleware.body import BodyBound
from api.middleware.client import TrustedProxies
from api.middleware.compression import Compression
from api.middleware.headers import SecurityHeaders
from api.middleware.host import HostCheck
from api.middleware.origin import OriginCheck
from services.settings import FrontSettings

__all__ = ["around"]


def around(app: ASGIApp, front: FrontSettings) -> ASGIApp:
    """The app with everything in front of it; `Misconfigured` for a trusted proxy that is no network."""
    app = BodyBound(Compression(app))
    app = OriginCheck(app, front.origins, front.base_url)
    app = HostCheck(app, front.hosts, front.port, front.public_url)
    app = SecurityHeaders(app, front.origins)
    app = BasePath(app, front.base_url)
    return TrustedProxies(app, front.trusted_proxies)
