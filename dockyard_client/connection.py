"""What both clients know of their connection: address, headers, time-outs, and httpx's words for it all."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import httpx

from dockyard_client.errors import Unavailable
from dockyard_client.talk import Request

# A stream sends a comment at least every 30 s, so a silence of this many seconds means that the other side is
# gone.
SILENCE = 75.0


def settings(base_url: str, token: str | None, timeout: float) -> dict[str, Any]:
    """The arguments that both of httpx's clients take; raises `ValueError` for a useless address.

    A proxy of the environment is not asked for this machine's own addresses. Connections idle for longer than
    the server keeps them are not reused, because a request on a closed one would have to be repeated.
    """
    address = urlsplit(base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"{base_url!r} is not the address of a server; it begins with http:// or https://.")
    headers = {"accept": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    return {
        "base_url": base_url.rstrip("/") + "/", "headers": headers, "timeout": timeout,
        "trust_env": not _is_here(address.hostname),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=4.0),
    }


def outgoing(http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    """The request in httpx's words."""
    return http.build_request(
        request.method, request.path, params=request.query or None, json=request.json,
        headers=request.headers,
        timeout=httpx.Timeout(http.timeout.connect, read=SILENCE) if request.stream else http.timeout,
    )


def lost(error: httpx.HTTPError) -> Unavailable:
    """The error of a connection in our words."""
    what = str(error) or type(error).__name__
    return Unavailable(f"No answer from the server: {what}.")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
