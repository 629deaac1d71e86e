"""Build tokens: how `/build` knows that a launch was asked for by one of our own pages.

The launch page carries a short-lived token for its own link, and what is started with it is not counted against the limit
per client. It is BinderHub's token, claim for claim, so the members of a federation may take each other's, given one key.
It is no proof of who asks, since whoever reads the page has it; so the bounds in all hold for everybody.
"""

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import jwt

from services.errors import Misconfigured
from services.secrets import Secret
from services.settings import FrontSettings

_ALGORITHM = "HS256"
_KEY_BYTES = 32  # what RFC 7518, §3.2, asks for with this algorithm


def origin_of(headers: Mapping[str, str]) -> str:
    """Host and port of the page that asks, as BinderHub finds them: of `Origin`, otherwise our own."""
    origin = headers.get("origin", "")
    return urlsplit(origin).netloc if "//" in origin else headers.get("host", "")


class BuildTokens:
    """Issues and checks; raises `Misconfigured` for a key that is none."""

    def __init__(self, front: FrontSettings, secret: Secret) -> None:
        self._seconds = front.build_token_seconds
        self._check_origin = front.build_token_check_origin
        self._key = _key(front.build_token_secret.get_secret_value()) or secret.derive("build-token", "")

    def issue(self, link: str, origin: str) -> str:
        """A token for the link `<provider>/<spec>`, quoted as it was sent, and pages of `origin`."""
        return jwt.encode({"exp": int(time.time()) + self._seconds, "aud": link, "origin": origin}, self._key, _ALGORITHM)

    def valid(self, token: str, link: str, origin: str) -> bool:
        """Whether the token is ours, of this link and this origin, and of these minutes.

        A slash at the end of a link says nothing, and some clients leave it out.
        """
        bare = link.rstrip("/")
        try:
            claims = jwt.decode(token, self._key, [_ALGORITHM], {"require": ["exp", "aud", "origin"]}, audience=[bare, f"{bare}/"])
        except jwt.PyJWTError:
            return False
        return not self._check_origin or claims["origin"] == origin


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise Misconfigured("Setting front.build_token_secret must be hexadecimal.") from None
    if text and len(key) < _KEY_BYTES:
        raise Misconfigured("Setting front.build_token_secret must have 64 hex digits or more; make one with: openssl rand -hex 32.")
    return key
