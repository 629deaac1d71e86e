"""Who reaches the front door, and what must be set before strangers do.

It is reached by others where it listens beyond loopback, and where a reverse proxy on the same machine publishes it: then
`front.public_url`, `front.hosts` or `front.trusted_proxies` say so, since without one of them no request from elsewhere passes the
check of its Host, or none shows its client.
"""

import ipaddress
from urllib.parse import urlsplit

from services.errors import Misconfigured
from services.settings.groups import FrontSettings, LimitSettings

_BOUNDS = ("open_per_client", "open_total", "servers_total")


def loopback(host: str) -> bool:
    """Whether only this machine reaches what listens here."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _published(front: FrontSettings) -> str:
    """The setting that says that others reach a front door on loopback; "" where none does."""
    if front.public_url and not loopback(urlsplit(front.public_url).hostname or ""):
        return "front.public_url"
    if front.trusted_proxies:
        return "front.trusted_proxies"
    names = (name if name == "*" else urlsplit(f"//{name}").hostname or "" for name in front.hosts)
    return "" if all(loopback(name) for name in names) else "front.hosts"


def exposed(front: FrontSettings) -> bool:
    """Whether others than this machine reach the front door."""
    return not loopback(front.host) or bool(_published(front))


def check_exposure(front: FrontSettings, limits: LimitSettings) -> None:
    """Refuse, as `Misconfigured`, a front door that others reach while anybody may start servers without limit, and one where
    anybody can say that he is somebody else, or where everybody looks like one client.
    """
    for text in front.trusted_proxies:
        if text.strip().endswith("/0"):
            raise Misconfigured(
                f"Setting front.trusted_proxies: {text} believes everybody, so anybody could claim any address. Name the networks of "
                "your proxies alone.")
    if not exposed(front):
        return
    why = f"{_published(front)} says that others reach" if loopback(front.host) else f"Other machines reach front.host {front.host} of"
    if missing := [f"limits.{key}" for key in _BOUNDS if getattr(limits, key) == 0]:
        raise Misconfigured(
            f"{why} this server, and everybody there could start servers without limit: set {' and '.join(missing)}, or let only this "
            "machine reach it (front.host 127.0.0.1 and none of front.public_url, front.hosts and front.trusted_proxies).")
    if loopback(front.host) and not front.trusted_proxies:
        raise Misconfigured(
            f"{why} this server, and front.host {front.host} that a proxy on this machine does it: set front.trusted_proxies to "
            "127.0.0.1, or all of them look like one client. The proxy has to set X-Forwarded-For.")
