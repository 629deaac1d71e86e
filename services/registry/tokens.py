"""Bearer tokens of a registry: what a challenge asks for, and the tokens that were fetched, until they expire.

A registry answers 401 with `WWW-Authenticate: Bearer realm="…",service="…",scope="…"`; the token comes from the realm,
with our credentials if there are any, and holds for one scope. Source: distribution.github.io/distribution/spec/auth.
"""

import re
import time
from dataclasses import dataclass

_FIELD = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_EARLY = 10.0  # seconds before its end that a token is not used any more
_LEAST = 60.0  # seconds that a token holds which does not say; the specification


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a 401 asks for."""

    scheme: str  # "basic", "bearer" or ""
    realm: str = ""
    service: str = ""
    scope: str = ""

    @classmethod
    def read(cls, header: str) -> "Challenge":
        """Read a WWW-Authenticate header."""
        scheme, _, rest = header.strip().partition(" ")
        fields = {key.lower(): value for key, value in _FIELD.findall(rest)}
        return cls(scheme.lower(), fields.get("realm", ""), fields.get("service", ""), fields.get("scope", ""))


class Tokens:
    """The tokens in hand, by the scopes that they were fetched for."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, float]] = {}

    def get(self, scopes: str) -> str | None:
        """A token that still holds, by the process's own clock."""
        token, until = self._held.get(scopes, ("", 0.0))
        return token if time.monotonic() < until - _EARLY else None

    def keep(self, scopes: str, token: str, seconds: float | None) -> None:
        """Keep one; None: it has not said for how long."""
        if len(self._held) > 4096:
            self._held.clear()
        self._held[scopes] = (token, time.monotonic() + max(seconds or _LEAST, _LEAST))

    def drop(self, scopes: str) -> None:
        """Forget one that was refused."""
        self._held.pop(scopes, None)
