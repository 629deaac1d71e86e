"""GitLab, or a GitLab of one's own: `gl/<escaped namespace>/ref`.

The namespace (groups, subgroups and project) is escaped as one segment; the ref may have slashes, escaped
or not. GitLab answers alike for what does not exist and for what is private.
"""

import re
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote

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

_PART = re.compile(r"[A-Za-z0-9_.+][A-Za-z0-9_.+-]*")


class GitLab:
    """GitLab.com, or the GitLab that is configured."""

    prefix = "gl"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._home = origin(providers.gitlab_host, "providers.gitlab_host")
        api = origin(providers.gitlab_api or f"{self._home.text}/api/v4", "providers.gitlab_api")
        token = providers.gitlab_token.get_secret_value()
        self.api = ForgeApi(
            "GitLab", api.text, Rule.make(egress, Purpose.FETCH, [api.pair]), timeout=providers.timeout,
            headers={"Accept": "application/json"} | ({"PRIVATE-TOKEN": token} if token else {}),
        )
        self._remote = GitRemote(
            Rule.make(egress, Purpose.FETCH, [self._home.pair]), timeout=providers.timeout,
            login=partial(Logins(providers).of, self.prefix),
        )
        self.display: dict[str, Any] = {
            "displayName": "GitLab",
            "id": "gl",
            "spec": {"validateRegex": r"[^/]+/.+"},
            "detect": {"regex": f"^(https?://{self._home.host}/)?(?<repo>.*[^/])/?"},
            "repo": {
                "label": "GitLab repository name or URL",
                "placeholder": "example: https://gitlab.com/mosaik/examples/mosaik-tutorials-on-binder "
                "or mosaik/examples/mosaik-tutorials-on-binder",
                "urlEncode": True,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, raw: str) -> Spec:
        """`group%2Fproject/ref`, with as many subgroups as there are."""
        raw = checked_raw(raw)
        quoted, _, ref = raw.partition("/")
        if not ref:
            raise malformed("namespace/ref", raw, hint="%2f" in raw.lower())
        namespace = self._namespace(unquoted(quoted))
        ref = checked_ref(unquoted(ref))
        commit = commit_id(ref)
        return Spec(self.prefix, raw, namespace, commit or ref, pinned=commit is not None, extra={"quoted": quoted})

    def pinned(self, spec: Spec) -> Resolved | None:
        """See `Provider`."""
        return self._resolved(spec, spec.ref, branch="") if spec.pinned else None

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        if spec.pinned:
            return self._resolved(spec, spec.ref, branch="")
        try:
            return await self._commit(spec)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error

    def recognise(self, url: SplitResult) -> Link | None:
        """Pages of projects, directories, files, commits, tags and merge requests."""
        if not self._home.is_at(url.hostname, url.port if url.scheme in ("http", "https") else None):
            return None
        before, _, after = url.path.partition("/-/")
        namespace = self._namespace(unquoted(before).strip("/"))
        ref, file, directory, note = page(after)
        if match := re.fullmatch(r"merge_requests/(\d+)(/.*)?", after):
            ref = f"merge-requests/{match[1]}/head"
        elif match := re.fullmatch(r"tags/(.+)", after):
            ref = unquoted(match[1])
        ref = checked_ref(ref)
        spec = f"{quote(namespace, safe='')}/{quote(ref, safe='/')}"
        return Link(self.prefix, namespace, ref, spec, file, directory, note=note)

    async def aclose(self) -> None:
        """See `Provider`."""
        await self.api.aclose()
        await self._remote.aclose()

    def _namespace(self, text: str) -> str:
        parts = text.strip("/").removesuffix(".git").split("/")
        if len(parts) < 2 or not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
            raise BadSpec(
                "The link does not name a GitLab project; it has the form group%2Fproject/ref, where the slashes between "
                "groups and project are written as %2F."
            )
        return "/".join(parts)

    async def _commit(self, spec: Spec) -> Resolved:
        path = f"/projects/{quote(spec.repo, safe='')}/repository/commits/{quote(spec.ref, safe='')}"
        try:
            return self._resolved(spec, await self.api.get(path, _id), branch=spec.ref)
        except Absent as error:
            if "commit" in error.message.lower():
                raise Unresolved(f'{spec.repo} has no branch, tag or commit "{spec.ref}".') from error
            raise Unresolved(f"GitLab knows no public project {spec.repo}.") from error
        except Unreachable as error:
            tip = await self._remote.instead_of(error, git_url(f"{self._home.text}/{spec.repo}.git"), spec.ref)
            return self._resolved(spec, tip.commit, branch=tip.name)

    def _resolved(self, spec: Spec, commit: str, *, branch: str) -> Resolved:
        url = f"{self._home.text}/{spec.repo}"
        return Resolved(
            ref=commit, spec=f"{spec.extra['quoted']}/{commit}", ref_url=f"{url}/tree/{commit}", repo_url=f"{url}.git",
            slug="-".join(part.replace("-", "_-") for part in spec.repo.split("/")), branch=branch,
        )


def _id(answer: Any) -> str:
    commit = commit_id(answer["id"])
    if commit is None:
        raise ValueError
    return commit
