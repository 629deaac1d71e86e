"""Who we are at a registry: the settings, a config.json of Docker, or a credential helper that it names.

Docker's file has credentials in `auths` (base64 of user:password, or an identity token), or names a helper program
`docker-credential-NAME` for one host (`credHelpers`) or for all (`credsStore`), which is asked on its standard input.
Source: docs.docker.com/reference/cli/docker/login and github.com/docker/docker-credential-helpers.
"""

import asyncio
import base64
import binascii
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.errors import Misconfigured
from services.settings import RegistrySettings

_HUB = "https://index.docker.io/v1/"
_HELPER = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a secret; both empty for an anonymous visitor."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)  # a refresh token in place of the password

    @property
    def basic(self) -> str:
        """The value of an Authorization header, or ""."""
        if not self.username or self.identity:
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    @property
    def for_engine(self) -> dict[str, str]:
        """What a Docker engine takes as X-Registry-Auth; empty for an anonymous visitor. Source: docs.docker.com/reference/api/engine."""
        if self.identity:
            return {"identitytoken": self.identity}
        return {"username": self.username, "password": self.password} if self.username else {}


async def find(settings: RegistrySettings) -> Credentials:
    """The credentials for `settings.url`. `Misconfigured` names the file that cannot be read or the helper that fails."""
    if settings.username:
        return Credentials(settings.username, settings.password.get_secret_value())
    if not settings.docker_config:
        return Credentials()
    path, config = read(settings.docker_config)
    return await of_config(config, settings.url, path)


def read(name: str) -> tuple[Path, dict[str, Any]]:
    """A config.json, named itself or by its directory. Small and local, so it is read at once."""
    path = Path(name)
    path = path / "config.json" if path.is_dir() else path
    try:
        return path, json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"Setting registry.docker_config: {path} cannot be read ({error}).") from error


async def of_config(config: dict[str, Any], url: str, path: Path) -> Credentials:
    """The credentials that a config.json has for a registry."""
    names = names_of(url)
    for helper in [config.get("credHelpers", {}).get(name) for name in names]:
        if helper:
            return await ask(helper, names[0])
    auths = config.get("auths", {})
    for name in names:
        if auths.get(name):
            return _entry(auths[name], path)
    if config.get("credsStore"):
        return await ask(config["credsStore"], names[-1] if names[-1] == _HUB else names[0])
    return Credentials()


def names_of(url: str) -> list[str]:
    """The keys under which a config.json may have a registry, the likeliest first."""
    host = urlsplit(url).netloc
    names = [host, f"https://{host}", f"http://{host}", f"https://{host}/v2/", f"https://{host}/v1/"]
    return [*names, _HUB] if host.endswith("docker.io") else names


def _entry(entry: dict[str, str], path: Path) -> Credentials:
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Misconfigured(f"Setting registry.docker_config: an entry `auth` of {path} is not base64.") from error
    else:
        user, password = entry.get("username", ""), entry.get("password", "")
    return Credentials(user, password.rstrip("\0"), entry.get("identitytoken", ""))


async def ask(helper: str, host: str) -> Credentials:
    """What the program `docker-credential-HELPER` knows of a registry; anonymous where it knows nothing."""
    program = shutil.which(f"docker-credential-{helper}")
    if program is None or "/" in helper:
        raise Misconfigured(f"The credential helper docker-credential-{helper} is not installed here.")
    process = await asyncio.create_subprocess_exec(
        program, "get", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(_HELPER):
            out, _ = await process.communicate(host.encode())
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise Misconfigured(f"The credential helper docker-credential-{helper} does not answer.") from error
    if b"not found" in out:
        return Credentials()
    try:
        if process.returncode:
            raise ValueError
        found = json.loads(out)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError) as error:
        raise Misconfigured(f"The credential helper docker-credential-{helper} fails for {host}.") from error
    return Credentials("", "", secret) if user == "<token>" else Credentials(user, secret)
