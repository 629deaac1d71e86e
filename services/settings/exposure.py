"""Who reaches the front door, and what must be set before strangers do."""

import ipaddress

from services.errors import Misconfigured
from services.settings.groups import FrontSettings, LimitSettings

_BOUNDS = ("open_per_client", "open_total", "servers_total")


def loopback(host: str) -> bool:
    """Whether only this machine reaches what listens here."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(front: FrontSettings, limits: LimitSettings) -> None:
    """Refuse, as `Misconfigured`, an address that others reach while anybody may start servers without limit."""
    missing = [f"limits.{key}" for key in _BOUNDS if getattr(limits, key) == 0]
    if missing and not loopback(front.host):
        raise Misconfigured(
            f"Other machines reach front.host {front.host}, and everybody there could start servers without "
            f"limit: set {' and '.join(missing)}, or listen on 127.0.0.1."
        )
