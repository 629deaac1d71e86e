"""Turn a host name into addresses, within a bounded time and without holding up anything else.

Name look-ups block a thread each, so they have threads of their own: a stranger's dead name server cannot
use up those that the rest of the process works with.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from services.egress.addresses import Address, literal
from services.errors import ForbiddenAddress, Unreachable

Resolver = Callable[[str, int], Awaitable[Collection[Address]]]

_SECONDS = 10.0
_THREADS = ThreadPoolExecutor(16, thread_name_prefix="dns")
_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def normal_host(host: str) -> str:
    """A host name in the one form that everybody reads alike: lower case, ASCII, no dot at its end, no zone.

    Raises `ForbiddenAddress` for anything else, above all for addresses in disguise (`0x7f.1`,
    `2130706433`), which one reader takes for a name and another for an address.
    """
    name = host.lower().removesuffix(".")
    address = literal(name)
    if address is not None and "%" not in name:
        return str(address)
    if not name.isascii():
        try:
            ascii_name = name.encode("idna").decode()
        except UnicodeError:
            ascii_name = ""
        hint = f"; write it as {ascii_name}" if _NAME.fullmatch(ascii_name) else ""
        raise ForbiddenAddress(f"The host of this link is not written in plain letters{hint}.")
    if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name.rsplit(".", 1)[-1]):
        raise ForbiddenAddress(f"{printable(host)} is not a valid host name.")
    return name


def printable(text: str, limit: int = 200) -> str:
    """`text` for a sentence: quoted, bounded, without control characters."""
    text = "".join(c if c.isprintable() else "�" for c in text)
    return f'"{text[:limit]}{"…" if len(text) > limit else ""}"'


async def system_resolver(host: str, port: int) -> list[Address]:
    """All addresses of a name, as the system finds them; raises `Unreachable`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_SECONDS):
            found = await loop.run_in_executor(_THREADS, _look_up, host, port)
    except TimeoutError as error:
        raise Unreachable(f"No name server answered for {host} in time; try again later.") from error
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise Unreachable(f"The host {host} cannot be looked up now; try again later.") from error
        raise Unreachable(f"There is no host named {host}; check the link for a typing error.", away=False) from error
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"The host {host} cannot be looked up: {error}.") from error
    addresses = [address for name in found if (address := literal(name)) is not None]
    if not addresses:
        raise Unreachable(f"The host {host} has no usable address; check the link.", away=False)
    return addresses


def _look_up(host: str, port: int) -> list[str]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers))


def own_addresses() -> frozenset[Address]:
    """The addresses of this machine's interfaces, which lead to itself as surely as loopback does."""
    import psutil  # the hub's image, which looks nothing up, is without it

    addresses = (
        literal(entry.address.partition("%")[0])
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    )
    return frozenset(address for address in addresses if address is not None)
