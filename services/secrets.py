"""What is derived from the one secret of an installation, so that no token has to be stored.

A server's token is the HMAC of its id: the launcher gives it to the hub, the api shows it to whoever may open the
server, and no row, log or message holds it. """

import base64
import hashlib
import hmac

from services.errors import Misconfigured


class Secret:
    """The installation's key; `purpose` keeps derived values apart."""

    def __init__(self, key: str) -> None:
        try:
            self._key = bytes.fromhex(key)
        except ValueError as error:
            raise Misconfigured("Setting home.secret must be hexadecimal.") from error
        if len(self._key) < 16:
            raise Misconfigured("Setting home.secret must have 32 hex digits or more; make one with: openssl rand -hex 32.")

    def derive(self, purpose: str, value: str) -> bytes:
        """32 bytes that only this key, purpose and value give."""
        return hmac.digest(self._key, f"{purpose}\n{value}".encode(), hashlib.sha256)

    def server_token(self, server: str) -> str:
        """The token of a server: 22 characters of base64url, as BinderHub's."""
        return base64.urlsafe_b64encode(self.derive("server", server)[:16]).decode().rstrip("=")
