"""Run `git ls-remote` on a stranger's address: one process, which can do nothing but ask that one server.

It gets no configuration, no credentials but those for this server, no proxy, no environment but what is listed here, an empty home,
and one protocol; it connects to the addresses that the egress rule has checked (curl's resolve list for
HTTP, `HostName` for ssh, the address itself for git://); it follows no redirect (we do, after a check).
Time, memory and output are bounded, and when the time is over the whole process group goes. A worker that is root does
not lend it that: it runs as nobody, wherever nobody can read what it needs.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.egress import Address
from services.egress.addresses import literal
from services.egress.logins import Login
from services.egress.logins import environment as logins_environment
from services.egress.logins import options as login_options
from services.errors import DockyardError, Forbidden, ForbiddenAddress, RateLimited, Unreachable, Unresolved
from services.providers.grammar import GitUrl

_OUTPUT = 4 << 20  # bytes of refs
_ERRORS = 16 << 10  # bytes of complaints
_NOBODY = 65534  # the kernel's own id for accounts that it does not know
_KIBIBYTES = 1 << 20  # of memory: a server may send refs without end, and git keeps them all
_KEPT = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "CURL_CA_BUNDLE")
_SSH = (
    "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null "
    "-o GlobalKnownHostsFile=/dev/null -o IdentityAgent=none -o IdentitiesOnly=yes -o IdentityFile=/dev/null "
    "-o ProxyCommand=none -o ForwardAgent=no -o ForwardX11=no -o PermitLocalCommand=no -o ConnectTimeout=10"
)
_NO_CONFIGURATION = (
    "protocol.version=2", "credential.helper=", "core.askPass=", "core.gitProxy=", "http.proxy=", "http.cookieFile=",
    "http.followRedirects=false", "http.sslVerify=true", "http.userAgent=git/dockyard",
)


class Moved(Exception):
    """The server answers with a redirect."""


@dataclass(frozen=True, slots=True)
class Refs:
    """What a server has: refs by full name (a peeled tag as `refs/tags/v1^{}`), and the branch that HEAD means."""

    ids: dict[str, str]
    head: str  # refs/heads/main; "" where HEAD is detached or the server does not say


async def ls_remote(
    url: GitUrl, patterns: Sequence[str], addresses: Sequence[Address], timeout: float, login: Login | None = None,
) -> Refs:
    """The refs that match one of `patterns` (all without any), asked of the first of `addresses` that answers.

    Raises `Unresolved`, `Forbidden`, `Unreachable` or `RateLimited` with a sentence, and `Moved`. `timeout`
    is in seconds and covers everything.
    """
    try:
        async with asyncio.timeout(timeout):
            if url.protocol in ("http", "https"):
                return await _asked(url, url.at(url.host), patterns, addresses, login)
            for address in addresses[:-1]:
                try:
                    return await _asked(url, url.at(str(address)), patterns, [address])
                except Unreachable:
                    continue
            return await _asked(url, url.at(str(addresses[-1])), patterns, addresses[-1:])
    except TimeoutError as error:
        raise Unreachable(f"{url.host} did not answer within {timeout:g} s; try again later.") from error


async def _asked(
    url: GitUrl, remote: str, patterns: Sequence[str], addresses: Sequence[Address], login: Login | None = None,
) -> Refs:
    home = tempfile.mkdtemp(prefix="dockyard-git-")
    logins = [login] if login else []
    environment = _environment(url, home) | logins_environment(logins)
    identity = _identity(environment)
    try:
        if identity:
            os.chown(home, _NOBODY, _NOBODY)
        code, output, errors = await _run(_command(url, remote, patterns, addresses, logins), environment, home, identity)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if code:
        error = complaint(url, errors)
        if login is not None and isinstance(error, Forbidden):
            error = Forbidden(f"{url.host} does not let this service read {url.text} with the login that it has.")
        raise error
    return parsed(output)


def _command(
    url: GitUrl, remote: str, patterns: Sequence[str], addresses: Sequence[Address], logins: Sequence[Login] = (),
) -> list[str]:
    settings = list(_NO_CONFIGURATION)
    if url.protocol in ("http", "https") and literal(url.host) is None:
        pinned = ",".join(f"[{a}]" if a.version == 6 else str(a) for a in addresses)
        settings.append(f"http.curloptResolve={url.host}:{url.port}:{pinned}")
    options = [word for setting in settings for word in ("-c", setting)] + login_options(logins)
    limited = ["/bin/sh", "-c", f'ulimit -v {_KIBIBYTES}; exec "$@"', "sh"]
    return [*limited, "git", *options, "ls-remote", "--symref", "--", remote, *patterns]


def _environment(url: GitUrl, home: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {
        "HOME": home, "XDG_CONFIG_HOME": home, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CEILING_DIRECTORIES": os.path.dirname(home), "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": url.protocol, "GIT_SSH_COMMAND": f"{_SSH} -o HostKeyAlias={url.host}", "GIT_SSH_VARIANT": "ssh",
    }


def _identity(environment: Mapping[str, str]) -> dict[str, Any]:
    """The arguments that start git as nobody; none where we are not root, or where only root can read what git needs."""
    git = shutil.which("git", path=environment.get("PATH"))
    needed = [git or "", tempfile.gettempdir(), *(environment[name] for name in _KEPT if name != "PATH" and name in environment)]
    if os.geteuid() != 0 or not all(_open_to_all(path) for path in needed):
        return {}
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}


def _open_to_all(path: str) -> bool:
    found = Path(path).absolute()
    try:
        return bool(found.stat().st_mode & 0o004) and all(parent.stat().st_mode & 0o001 for parent in found.resolve().parents)
    except OSError:
        return False


async def _run(
    command: list[str], environment: dict[str, str], directory: str, identity: Mapping[str, Any],
) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=directory, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, start_new_session=True, **identity,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    reads = [
        asyncio.ensure_future(_read(process.stdout, _OUTPUT, strict=True)),
        asyncio.ensure_future(_read(process.stderr, _ERRORS, strict=False)),
    ]
    try:
        output, errors = await asyncio.gather(*reads)
        return await process.wait(), output, errors
    finally:
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # A pipe that is not read to its end is never closed.
            while await process.stdout.read(65536) or await process.stderr.read(65536):
                pass
            await process.wait()


async def _read(stream: asyncio.StreamReader, limit: int, *, strict: bool) -> str:
    kept = bytearray()
    while part := await stream.read(65536):
        kept += part[: limit + 1 - len(kept)]
        if strict and len(kept) > limit:
            raise Unreachable("The repository has more branches and tags than can be read; name a commit by its full id.", away=False)
    return kept.decode(errors="replace")


def parsed(output: str) -> Refs:
    """Read the output of `git ls-remote --symref`."""
    ids: dict[str, str] = {}
    head = ""
    for line in output.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            head = value.removeprefix("ref: ") if name == "HEAD" else head
        elif re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value):
            ids[name] = value
    return Refs(ids, head)


def complaint(url: GitUrl, errors: str) -> DockyardError | Moved:
    """The error behind what git wrote, whose words are stable since LC_ALL=C (git 2.39, curl 7.88, OpenSSH 9)."""
    found = re.search(r"The requested URL returned error: (\d{3})", errors)
    status = int(found[1]) if found else 0
    if status in (301, 302, 303, 307, 308):
        return Moved()
    if status == 429:
        return RateLimited(f"{url.host} refuses to answer so many requests; try again in some minutes.")
    if status == 404 or _says(errors, _UNKNOWN):
        return Unresolved(f"There is no git repository at {url.text}, or it is private; check the address.")
    if status in (401, 403, 407, 451) or _says(errors, _REFUSED):
        return Forbidden(
            f"{url.host} asks for a login for {url.text}: the repository is private, or does not exist. "
            "Only repositories that everybody may read can be launched."
        )
    if _says(errors, (r"transport '\w+' not allowed",)):
        return ForbiddenAddress(f"{url.protocol}:// addresses are not fetched here; use the https:// address.")
    if status >= 500:
        return Unreachable(f"{url.host} answers with an error of its own ({status}); try again later.")
    if _says(errors, (r"certificate",)):
        return Unreachable(f"{url.host} has no certificate that can be trusted; ask whoever runs it to mend that.", away=False)
    if _says(errors, (r"cannot run ssh|ssh: not found|ssh: No such file",)):
        return Unreachable("ssh is not installed where this service runs; use the https:// address of the repository.", away=False)
    return Unreachable(f"{url.host} cannot be reached or does not speak git at {url.text}; check the link or try again later.")


_UNKNOWN = (
    r"repository '.*' not found", r"does not appear to be a git repository", r"no such repository", r"not found: did you run",
    r"access denied or repository not exported", r"not valid: is this a git repository", r"Repository not found",
    r"project you were looking for could not be found", r"could not find repository",
)
_REFUSED = (
    r"could not read (Username|Password)", r"terminal prompts disabled", r"Authentication failed", r"Permission denied",
    r"Host key verification failed", r"HTTP Basic: Access denied",
)


def _says(errors: str, patterns: Sequence[str]) -> bool:
    return any(re.search(pattern, errors, re.IGNORECASE) for pattern in patterns)
