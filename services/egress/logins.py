"""Logins for private repositories: each is for one host, and goes to no other.

An operator names them in `providers`: a token of GitHub or GitLab, which their providers use for the API and for git, and
`git_credentials` for any host. What git is given is a helper that it asks when a server of just that address wants a
login, and never before; so nothing is sent to a host that a redirect or a submodule leads to. The secrets stand in the
environment of that git alone: not on a command line, not in a file, not in a repository's configuration.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from services.egress.resolve import normal_host
from services.errors import ForbiddenAddress, Misconfigured
from services.settings import ProviderSettings

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password, or token, for one host."""

    place: tuple[str, str, int]  # protocol, host, port
    username: str
    password: str = field(repr=False)


class Logins:
    """All logins of the settings. Raises `Misconfigured` for one that means nothing."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._by_place = {
            _place(host, "providers.git_credentials"): _read(host, value.get_secret_value())
            for host, value in settings.git_credentials.items()
        }
        self._by_provider: dict[str, Login] = {}
        github, gitlab = settings.github_token.get_secret_value(), settings.gitlab_token.get_secret_value()
        if github:
            # GitHub takes any name with a token; BinderHub's is the id of an application, where one is configured.
            name = settings.github_client_id or "x-access-token"
            self._by_provider["gh"] = Login(_place(settings.github_host, "providers.github_host"), name, github)
        if gitlab:
            self._by_provider["gl"] = Login(_place(settings.gitlab_host, "providers.gitlab_host"), "oauth2", gitlab)

    def of(self, provider: str, url: str) -> Login | None:
        """The login for a repository that a link of this provider leads to; None where there is none for its host.

        The token of a provider is for its own links: `git/https%3A%2F%2Fgithub.com…` is read as everybody reads it.
        """
        try:
            place = _place(url, "")
        except Misconfigured:
            return None
        found = self._by_place.get(place) or self._by_provider.get(provider)
        return found if found is not None and found.place == place else None

    def for_sources(self, sources: Iterable[tuple[str, str]]) -> str:
        """What a step that fetches these repositories (provider and address each) is given: JSON of `options` of git and its
        `environment`; "" where it needs none.
        """
        found = {login.place: login for login in (self.of(*source) for source in sources) if login is not None}
        if not found:
            return ""
        return json.dumps({"options": options(found.values()), "environment": environment(found.values())})


def options(logins: Iterable[Login]) -> list[str]:
    """The words that git is started with, behind `-c credential.helper=`; they hold no secret."""
    words: list[str] = []
    for number, login in enumerate(logins):
        protocol, host, port = login.place
        shown = f"[{host}]" if ":" in host else host
        helper = (
            f'!f() {{ if test "$1" = get; then printf "username=%s\\npassword=%s\\n" "$DOCKYARD_LOGIN_{number}_USER" '
            f'"$DOCKYARD_LOGIN_{number}_PASSWORD"; fi; }}; f'
        )
        for address in {f"{protocol}://{shown}:{port}", f"{protocol}://{shown}" if port == _PORTS[protocol] else ""} - {""}:
            words += ["-c", f"credential.{address}.helper={helper}"]
    return words


def environment(logins: Iterable[Login]) -> dict[str, str]:
    """The variables that the helpers of `options` read."""
    found: dict[str, str] = {}
    for number, login in enumerate(logins):
        found |= {f"DOCKYARD_LOGIN_{number}_USER": login.username, f"DOCKYARD_LOGIN_{number}_PASSWORD": login.password}
    return found


def _place(value: str, key: str) -> tuple[str, str, int]:
    """Protocol, host and port of a host, host:port or http(s) address."""
    try:
        parts = urlsplit(value if "://" in value else f"https://{value}")
        if parts.scheme not in _PORTS or "@" in parts.netloc:
            raise ValueError(value)
        return parts.scheme, normal_host(parts.hostname or ""), parts.port or _PORTS[parts.scheme]
    except (ValueError, ForbiddenAddress) as error:
        raise Misconfigured(f"Setting {key}: {value!r} is not a host, host:port, or an http(s) address without credentials.") from error


def _read(host: str, text: str) -> Login:
    """BinderHub's form: `username=…` and `password=…` on two lines, whose end may be written as \\n."""
    lines = text.replace("\\n", "\n").strip().split("\n")
    values: Mapping[str, str] = {name.strip(): value.strip("\r") for name, _, value in (line.partition("=") for line in lines)}
    given = [values.get(name, "") for name in ("username", "password")]
    if not all(value and value.isprintable() for value in given):
        raise Misconfigured(f"Setting providers.git_credentials: what is given for {host} has not the form username=…\\npassword=….")
    return Login(_place(host, "providers.git_credentials"), values["username"], values["password"])
