"""What a spec is called, so that a rule about a repository holds whichever way a link takes to it.

A repository is named `host/path`, in lower case, without protocol, user, usual port and `.git`: `github.com/org/name`. The same
one reached as `gh/org/name/ref`, `git/https%3A%2F%2Fgithub.com%2FOrg%2Fname.git/ref` or over ssh has that one name. What no forge
of ours knows by an address is named `provider/repo`. Rules are held against all names of a spec; what is allowed must match one
of those that nobody can bend, so names with `..` in them are never among these.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from services.providers.base import Spec
from services.settings import ProviderSettings

_USUAL = {80, 443, 22, 9418}


@dataclass(frozen=True, slots=True)
class Names:
    """Everything that a spec is called, in lower case."""

    repository: str  # host/path, or provider/repo
    sure: tuple[str, ...]  # as we have read it
    all: tuple[str, ...]  # these, and the spec as it was written


class Namer:
    """Names specs for one installation."""

    def __init__(self, providers: ProviderSettings) -> None:
        hosts = {
            "gh": providers.github_host, "gl": providers.gitlab_host, "gist": providers.gist_host, "bitbucket": providers.bitbucket_host,
            "codeberg": providers.codeberg_host, "gitea": providers.gitea_host,
        }
        self._hosts: Mapping[str, str] = {prefix: _host(value) for prefix, value in hosts.items() if value}
        self._prefixes: Mapping[str, str] = {host: prefix for prefix, host in self._hosts.items()}
        self._cached = lru_cache(maxsize=1024)(self._names)  # a class of 300 follows one link

    def of(self, spec: Spec) -> Names:
        """The names of a parsed spec."""
        return self.names(spec.provider, spec.raw, spec.repo, spec.ref)

    def names(self, provider: str, raw: str, repo: str, ref: str = "", repo_url: str = "") -> Names:
        """The names of what a row says; `repo_url` is what it was resolved to."""
        return self._cached(provider, raw, repo, ref, repo_url)

    def _names(self, provider: str, raw: str, repo: str, ref: str, repo_url: str) -> Names:
        repository = self.repository(provider, repo)
        sure = {f"{provider}/{repo}", f"{provider}/{repo}/{ref}", f"{provider}/{unquote(raw)}"}
        for key in {repository, self.by_url(repo_url) or repository}:
            sure |= {key, f"{key}/{ref}"}
            host, _, path = key.partition("/")
            if prefix := self._prefixes.get(host):
                sure |= {f"{prefix}/{path}", f"{prefix}/{path}/{ref}"}
        sure = {name.lower().rstrip("/") for name in sure}
        plain = sorted(name for name in sure if not _bent(name))
        return Names(repository, tuple(plain), tuple(sorted(sure | {f"{provider}/{raw}".lower()})))

    def repository(self, provider: str, repo: str) -> str:
        """The one name of a repository, by what the link says."""
        if host := self._hosts.get(provider):
            return f"{host}/{_path(repo)}"
        return self.by_url(repo) or f"{provider}/{repo}".lower()

    def by_url(self, url: str) -> str:
        """The name of the repository at an address; "" for what is none."""
        parts = urlsplit(url) if "://" in url else None
        return f"{_host(url)}/{_path(unquote(parts.path))}" if parts is not None and parts.hostname else ""


def _bent(name: str) -> bool:
    """Whether a name may lead elsewhere than it says, by somebody's reading."""
    return any(part in (".", "..") for part in name.split("/")) or any(bend in name for bend in ("%2e", "%2f", "%25", "\\"))


def _host(text: str) -> str:
    """Host, and port where it is not the protocol's own, of a host or an address."""
    parts = urlsplit(text if "://" in text else f"//{text}")
    host = (parts.hostname or text).rstrip(".").removeprefix("www.")
    try:
        port = parts.port
    except ValueError:
        port = None
    return host if port is None or port in _USUAL else f"{host}:{port}"


def _path(text: str) -> str:
    """A path without the ways that lead to the same place."""
    return posixpath.normpath(f"/{text.lower()}").strip("/").removesuffix(".git").strip("/")
