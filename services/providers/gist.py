"""GitHub gists: `gist/user/gistid[/ref]`.

A gist has one line of revisions; the ref is one of them or means the newest. Whether a gist is secret only
the API says, so its answer is needed even where the ref is a full commit id, and the git server is no
substitute for it unless secret gists may be launched.
"""

import re
from typing import Any
from urllib.parse import SplitResult

from services.egress import Purpose, Rule
from services.errors import BadSpec, Forbidden, Unreachable, Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.forge_api import Absent
from services.providers.gh import github_api
from services.providers.git_remote import GitRemote
from services.providers.grammar import checked_raw, checked_ref, commit_id, git_url, malformed, not_resolved, unquoted
from services.providers.origin import origin
from services.settings import EgressSettings, ProviderSettings

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ID = re.compile(r"[A-Za-z0-9]+")
_NEWEST = ("HEAD", "master", "main")
_REFUSAL = (
    "You seem to want to use a secret Gist, but do not have permission to do so. To enable secret Gist support, "
    "set (or have an administrator set) 'providers.secret_gists = true'"
)


class Gist:
    """Gists, as BinderHub reads them."""

    prefix = "gist"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._home = origin(providers.gist_host, "providers.gist_host")
        self._secret_allowed = providers.secret_gists
        self.api = github_api(providers, egress)
        self._remote = GitRemote(Rule.make(egress, Purpose.FETCH, [self._home.pair]), timeout=providers.timeout)
        self.display: dict[str, Any] = {
            "displayName": "GitHub Gist",
            "id": "gist",
            "spec": {"validateRegex": r"[^/]+/[^/]+(/[^/]+)?"},
            "detect": {"regex": f"^(https?://{self._home.host}/)?(?<repo>.*[^/])/?"},
            "repo": {"label": "Gist ID (username/gistId) or URL", "placeholder": "", "urlEncode": False},
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, raw: str) -> Spec:
        """`user/gistid` or `user/gistid/ref`."""
        raw = checked_raw(raw)
        parts = [unquoted(part) for part in raw.split("/")]
        if len(parts) not in (2, 3):
            raise malformed("user/gistid/ref", raw)
        user, gist, ref = parts[0], parts[1].removesuffix(".git"), parts[2] if len(parts) == 3 else "HEAD"
        if not _USER.fullmatch(user) or not _ID.fullmatch(gist):
            raise BadSpec("The link does not name a gist; it has the form user/gistid or user/gistid/revision.")
        ref = checked_ref(ref)
        pinned = self._secret_allowed and commit_id(ref) is not None
        return Spec(self.prefix, raw, f"{user}/{gist}", commit_id(ref) or ref, pinned=pinned, extra={"id": gist})

    def pinned(self, spec: Spec) -> Resolved | None:
        """See `Provider`; always None where secret gists are refused."""
        return self._resolved(spec, spec.ref) if spec.pinned else None

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        if spec.pinned:
            return self._resolved(spec, spec.ref)
        try:
            public, versions = await self.api.get(f"/gists/{spec.extra['id']}", _versions)
        except Absent as error:
            detail = f"GitHub knows no gist {spec.extra['id']}."
            raise Unresolved(not_resolved(self.prefix, spec.raw, detail)) from error
        except Unreachable as error:
            if not self._secret_allowed or spec.ref not in _NEWEST:
                raise
            tip = await self._remote.instead_of(error, git_url(f"{self._home.text}/{spec.repo}.git"), "HEAD")
            return self._resolved(spec, tip.commit)
        if not public and not self._secret_allowed:
            raise Forbidden(_REFUSAL)
        if spec.ref in _NEWEST:
            return self._resolved(spec, versions[0])
        if spec.ref in versions or await self._is_older(spec):
            return self._resolved(spec, spec.ref)
        raise Unresolved(not_resolved(self.prefix, spec.raw, "The gist has no such revision; leave it out for the newest."))

    def recognise(self, url: SplitResult) -> Link | None:
        """The page of a gist or of one of its revisions; nbviewer's too."""
        parts = url.path.strip("/").split("/")
        if url.hostname in ("nbviewer.org", "nbviewer.jupyter.org") and parts[0] == "gist":
            parts = parts[1:]
        elif not self._home.is_at(url.hostname, url.port if url.scheme in ("http", "https") else None):
            return None
        if len(parts) < 2:
            raise BadSpec("This address does not name a gist with its user; it has the form https://gist.github.com/user/gistid.")
        ref = parts[2] if len(parts) > 2 and commit_id(parts[2]) else "HEAD"
        spec = self.parse(f"{parts[0]}/{parts[1]}/{ref}")
        return Link(self.prefix, spec.repo, spec.ref, f"{spec.repo}/{spec.ref}")

    async def aclose(self) -> None:
        """See `Provider`."""
        await self.api.aclose()
        await self._remote.aclose()

    async def _is_older(self, spec: Spec) -> bool:
        """Whether a full commit id is a revision that the API's list, which is cut for long histories, leaves out."""
        if commit_id(spec.ref) is None:
            return False
        try:
            return bool(await self.api.get(f"/gists/{spec.extra['id']}/{spec.ref}", lambda answer: answer["id"]))
        except Absent:
            return False

    def _resolved(self, spec: Spec, commit: str) -> Resolved:
        url = f"{self._home.text}/{spec.repo}"
        return Resolved(
            ref=commit, spec=f"{spec.repo}/{commit}", ref_url=f"{url}/{commit}", repo_url=f"{url}.git",
            slug=spec.extra["id"], branch="HEAD" if spec.ref in _NEWEST else "",
        )


def _versions(answer: Any) -> tuple[bool, tuple[str, ...]]:
    versions = tuple(str(entry["version"]) for entry in answer["history"])
    if not versions or any(commit_id(version) is None for version in versions):
        raise ValueError
    return bool(answer["public"]), versions
