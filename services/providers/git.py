"""Any git repository: `git/<escaped address>/ref`.

The address is http, https, git or ssh (also `user@host:path`) and carries no credentials; where its host
leads is the egress rule's to judge. Refs are asked of the server with `git ls-remote`; a full commit id is
taken as it is.
"""

import re
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote, urlunsplit

from services.egress import Purpose, Rule
from services.egress.logins import Logins
from services.errors import BadSpec, Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.bitbucket import bitbucket_page
from services.providers.git_remote import GitRemote
from services.providers.gitea import gitea_page
from services.providers.grammar import checked_raw, checked_ref, commit_id, git_url, malformed, not_resolved, unquoted
from services.providers.pages import page
from services.settings import EgressSettings, ProviderSettings

# Pages of forges that are not configured: GitLab's, Gitea's and Forgejo's, Bitbucket's.
_GITLAB = re.compile(r"(/.+?)/-/((?:tree|blob|raw|commit)/.+)")
_BITBUCKET = re.compile(r"(/[^/]+/[^/]+)/((?:src|raw|branch|commits)/.+)")
_GITEA = re.compile(r"(/[^/]+/[^/]+)/((?:src|raw)/(?:branch|tag|commit)/.+)")


class Git:
    """A git server of any kind."""

    prefix = "git"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._rule = Rule.make(egress, Purpose.FETCH)
        self._remote = GitRemote(self._rule, timeout=providers.timeout, login=partial(Logins(providers).of, self.prefix))
        self.display: dict[str, Any] = {
            "displayName": "Git repository",
            "id": "git",
            "spec": {"validateRegex": r"[^/]+/.+"},
            "repo": {
                "label": "Arbitrary git repository URL",
                "placeholder": "example: http://git.example.com/repo",
                "urlEncode": True,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, raw: str) -> Spec:
        """`https%3A%2F%2Fhost%2Fpath/ref`; the ref may have slashes, escaped or not."""
        raw = checked_raw(raw)
        quoted, _, ref = raw.partition("/")
        url = git_url(unquoted(quoted))
        if not ref:
            raise malformed("url/ref", raw, hint=True)
        self._rule.refuse_written(url.host, url.port)
        ref = checked_ref(unquoted(ref))
        commit = commit_id(ref)
        return Spec(self.prefix, raw, url.text, commit or ref, pinned=commit is not None, extra={"quoted": quoted})

    def pinned(self, spec: Spec) -> Resolved | None:
        """See `Provider`."""
        return self._resolved(spec, spec.ref, branch="") if spec.pinned else None

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        if spec.pinned:
            return self._resolved(spec, spec.ref, branch="")
        try:
            tip = await self._remote.tip(git_url(spec.repo), spec.ref)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
        return self._resolved(spec, tip.commit, branch=tip.name, notice=tip.note)

    def recognise(self, url: SplitResult) -> Link | None:
        """Every address that may be one of a git repository; so this provider must be asked last."""
        ref, file, directory, note = "HEAD", "", "", ""
        path = url.path
        if url.scheme in ("http", "https"):
            if match := _GITLAB.fullmatch(path):
                path, (ref, file, directory, note) = match[1], page(match[2])
            elif match := _GITEA.fullmatch(path):
                path, (ref, file, directory, note) = match[1], gitea_page(match[2])
            elif url.hostname == "bitbucket.org" and (match := _BITBUCKET.fullmatch(path)):
                path, (ref, file, directory, note) = match[1], bitbucket_page(match[2])
        if path.strip("/") == "":
            raise BadSpec("The address of the git repository has no path after its host.")
        address = git_url(urlunsplit((url.scheme, url.netloc, path.rstrip("/"), "", "")))
        self._rule.refuse_written(address.host, address.port)
        ref = checked_ref(ref)
        spec = f"{quote(address.text, safe='')}/{quote(ref, safe='/')}"
        return Link(self.prefix, address.text, ref, spec, file, directory, note=note)

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._remote.aclose()

    def _resolved(self, spec: Spec, commit: str, *, branch: str, notice: str = "") -> Resolved:
        return Resolved(
            ref=commit, spec=f"{spec.extra['quoted']}/{commit}", ref_url=spec.repo, repo_url=spec.repo, slug=spec.repo,
            notice=notice, branch=branch,
        )
