"""GitHub: `gh/user/repo/ref`.

Refs are resolved by GitHub's REST API, which also knows abbreviated commit ids, and by the git server when
the API's limit is spent. Links to a `master` or `main` that is no more lead to the default branch, with a
notice, as on every Binder service (without the ten seconds of waiting).
"""

import re
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote

from aiohttp import encode_basic_auth

from services.egress import Purpose, Rule
from services.egress.logins import Logins
from services.errors import BadSpec, Unreachable, Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.forge_api import Absent, ForgeApi
from services.providers.git_remote import GitRemote
from services.providers.grammar import (
    checked_raw,
    checked_ref,
    commit_id,
    git_url,
    malformed,
    not_resolved,
    unquoted,
)
from services.providers.origin import origin
from services.providers.pages import page
from services.settings import EgressSettings, ProviderSettings

_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_TIP = "Tip: HEAD will always resolve to a repository's default branch."
_RENAMED = 'GitHub has changed default branches from "master" to "main".'
_MIRRORS = ("nbviewer.org", "nbviewer.jupyter.org", "colab.research.google.com", "githubtocolab.com")


def names(user: str, repo: str) -> tuple[str, str]:
    """User and repository of a link, checked; a repository's `.git` is dropped."""
    user, repo = unquoted(user), unquoted(repo).removesuffix(".git")
    for what, name in (("user", user), ("repository", repo)):
        if not _NAME.fullmatch(name) or name in (".", ".."):
            raise BadSpec(f"The link does not name a {what} of GitHub; it has the form user/repository/ref.")
    return user, repo


def github_api(providers: ProviderSettings, egress: EgressSettings) -> ForgeApi:
    """GitHub's REST API, as configured."""
    api = origin(providers.github_api, "providers.github_api")
    token, secret = providers.github_token.get_secret_value(), providers.github_client_secret.get_secret_value()
    headers = {"Accept": "application/vnd.github+json"}
    if token:
        headers["Authorization"] = f"token {token}"
    elif providers.github_client_id and secret:  # a higher limit for what is public
        headers["Authorization"] = encode_basic_auth(providers.github_client_id, secret)
    rule = Rule.make(egress, Purpose.FETCH, [api.pair])
    return ForgeApi("GitHub", api.text, rule, timeout=providers.timeout, headers=headers)


class GitHub:
    """GitHub, or a GitHub Enterprise server."""

    prefix = "gh"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._home = origin(providers.github_host, "providers.github_host")
        self.api = github_api(providers, egress)
        self._remote = GitRemote(
            Rule.make(egress, Purpose.FETCH, [self._home.pair]), timeout=providers.timeout,
            login=partial(Logins(providers).of, self.prefix),
        )
        self.display: dict[str, Any] = {
            "displayName": "GitHub",
            "id": "gh",
            "spec": {"validateRegex": r"[^/]+/[^/]+/.+"},
            "detect": {"regex": f"^(https?://{self._home.host}/)?(?<repo>.*[^/])/?"},
            "repo": {
                "label": "GitHub repository name or URL",
                "placeholder": "example: binder-examples/requirements or https://github.com/binder-examples/requirements",
                "urlEncode": False,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, raw: str) -> Spec:
        """`user/repo/ref`; the ref may have slashes, escaped or not."""
        raw = checked_raw(raw)
        parts = raw.split("/", 2)
        if len(parts) != 3:
            hint = len(parts) == 2 and parts[1] not in ("main", "master", "HEAD")
            raise malformed("user/repo/ref", raw, hint=hint)
        user, repo = names(parts[0], parts[1])
        ref = checked_ref(unquoted(parts[2]))
        return Spec(self.prefix, raw, f"{user}/{repo}", commit_id(ref) or ref, pinned=commit_id(ref) is not None)

    def pinned(self, spec: Spec) -> Resolved | None:
        """See `Provider`."""
        return self._resolved(spec, spec.ref, branch="") if spec.pinned else None

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        if spec.pinned:
            return self._resolved(spec, spec.ref, branch="")
        try:
            return await self._commit(spec, spec.ref)
        except Unresolved as error:
            if spec.ref not in ("master", "main"):
                raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
            text = not_resolved(self.prefix, spec.raw, f"{_RENAMED} {_TIP}" if spec.ref == "master" else _TIP)
            try:
                found = await self._commit(spec, "HEAD")
            except Unresolved:
                raise Unresolved(text) from error
        return replace(found, notice=f"{text}\nTrying again with HEAD instead of {spec.ref}. Please update your links.")

    def recognise(self, url: SplitResult) -> Link | None:
        """Pages of repositories, directories, files, commits, tags and pull requests; nbviewer, Colab and raw files too."""
        parts = url.path.strip("/").split("/")
        if url.hostname in _MIRRORS and parts[0] == "github":
            parts = parts[1:]
        elif url.hostname == "raw.githubusercontent.com" and len(parts) > 3:
            head = 2 if parts[2:4] == ["refs", "heads"] else 0
            parts = [*parts[:2], "blob", *parts[2 + head :]]
        elif not self._home.is_at(url.hostname, url.port if url.scheme in ("http", "https") else None):
            return None
        if len(parts) < 2:
            raise BadSpec("This is not the address of a repository on GitHub; it has the form https://github.com/user/repository.")
        user, repo = names(parts[0], parts[1])
        ref, file, directory, note = page("/".join(parts[2:]))
        ref = checked_ref(ref)
        spec = f"{user}/{repo}/{quote(ref, safe='/')}"
        return Link(self.prefix, f"{user}/{repo}", ref, spec, file, directory, note=note)

    async def aclose(self) -> None:
        """See `Provider`."""
        await self.api.aclose()
        await self._remote.aclose()

    async def _commit(self, spec: Spec, ref: str) -> Resolved:
        path = f"/repos/{spec.repo}/commits/{quote(ref, safe='/')}"
        try:
            return self._resolved(spec, await self.api.get(path, _sha), branch=ref)
        except Absent as error:
            if error.status == 404:
                raise Unresolved(f"GitHub knows no public repository {spec.repo}.") from error
            if error.status == 409:
                raise Unresolved(f"The repository {spec.repo} is empty; push a commit to it first.") from error
            raise Unresolved(f'{spec.repo} has no branch, tag or commit "{ref}".') from error
        except Unreachable as error:
            tip = await self._remote.instead_of(error, git_url(f"{self._home.text}/{spec.repo}"), ref)
            return self._resolved(spec, tip.commit, branch=tip.name)

    def _resolved(self, spec: Spec, commit: str, *, branch: str) -> Resolved:
        url = f"{self._home.text}/{spec.repo}"
        return Resolved(
            ref=commit, spec=f"{spec.repo}/{commit}", ref_url=f"{url}/tree/{commit}", repo_url=url,
            slug=spec.repo.replace("/", "-"), branch=branch,
        )


def _sha(answer: Any) -> str:
    commit = commit_id(answer["sha"])
    if commit is None:
        raise ValueError
    return commit
