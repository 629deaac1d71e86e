"""A forge that is asked through git alone: `prefix/owner/repository/ref`.

For forges whose API tells no more about refs than `git ls-remote` does. A provider of this kind is a `Shape`: its words, its
host, and how its pages are addressed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote

from services.egress import Purpose, Rule
from services.egress.logins import Logins
from services.errors import BadSpec, Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.git_remote import GitRemote
from services.providers.grammar import checked_raw, checked_ref, commit_id, git_url, malformed, not_resolved, unquoted
from services.providers.origin import Origin
from services.settings import EgressSettings, ProviderSettings

_NAME = re.compile(r"[A-Za-z0-9_.~][A-Za-z0-9_.~-]*")


@dataclass(frozen=True, slots=True)
class Shape:
    """What tells one forge from another."""

    prefix: str
    name: str  # for people
    home: Origin
    example: str  # owner/repository
    tree: str  # from a repository's page to that of a commit, such as "/src/commit/{commit}"
    page: Callable[[str], tuple[str, str, str, str]]  # as `pages.page`


class PlainForge:
    """A provider by its shape."""

    def __init__(self, shape: Shape, providers: ProviderSettings, egress: EgressSettings) -> None:
        self.prefix = shape.prefix
        self._shape = shape
        self._remote = GitRemote(
            Rule.make(egress, Purpose.FETCH, [shape.home.pair]), timeout=providers.timeout,
            login=partial(Logins(providers).of, self.prefix),
        )
        self.display: dict[str, Any] = {
            "displayName": shape.name,
            "id": shape.prefix,
            "spec": {"validateRegex": r"[^/]+/[^/]+/.+"},
            "detect": {"regex": f"^(https?://{shape.home.host}/)?(?<repo>.*[^/])/?"},
            "repo": {
                "label": f"{shape.name} repository name or URL",
                "placeholder": f"example: {shape.example} or {shape.home.text}/{shape.example}",
                "urlEncode": False,
            },
            "ref": {"enabled": True, "default": "HEAD"},
        }

    def parse(self, raw: str) -> Spec:
        """`owner/repository/ref`; the ref may have slashes, escaped or not."""
        raw = checked_raw(raw)
        parts = raw.split("/", 2)
        if len(parts) != 3:
            raise malformed("user/repo/ref", raw, hint=len(parts) == 2)
        repo = self._repo(parts[0], parts[1])
        ref = checked_ref(unquoted(parts[2]))
        commit = commit_id(ref)
        return Spec(self.prefix, raw, repo, commit or ref, pinned=commit is not None)

    def pinned(self, spec: Spec) -> Resolved | None:
        """See `Provider`."""
        return self._resolved(spec, spec.ref, branch="") if spec.pinned else None

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        if spec.pinned:
            return self._resolved(spec, spec.ref, branch="")
        try:
            tip = await self._remote.tip(git_url(f"{self._shape.home.text}/{spec.repo}.git"), spec.ref)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
        return self._resolved(spec, tip.commit, branch=tip.name, notice=tip.note)

    def recognise(self, url: SplitResult) -> Link | None:
        """Pages of repositories, directories, files and commits."""
        if not self._shape.home.is_at(url.hostname, url.port if url.scheme in ("http", "https") else None):
            return None
        parts = url.path.strip("/").split("/", 2)
        if len(parts) < 2:
            form = f"{self._shape.home.text}/user/repository"
            raise BadSpec(f"This is not the address of a repository on {self._shape.name}; it has the form {form}.")
        repo = self._repo(parts[0], parts[1])
        ref, file, directory, note = self._shape.page(parts[2] if len(parts) > 2 else "")
        ref = checked_ref(ref)
        return Link(self.prefix, repo, ref, f"{repo}/{quote(ref, safe='/')}", file, directory, note=note)

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._remote.aclose()

    def _repo(self, owner: str, name: str) -> str:
        owner, name = unquoted(owner), unquoted(name).removesuffix(".git")
        if not all(_NAME.fullmatch(part) and part not in (".", "..") for part in (owner, name)):
            raise BadSpec(f"The link does not name a repository of {self._shape.name}; it has the form user/repository/ref.")
        return f"{owner}/{name}"

    def _resolved(self, spec: Spec, commit: str, *, branch: str, notice: str = "") -> Resolved:
        url = f"{self._shape.home.text}/{spec.repo}"
        # Owner and name cannot run into each other, since neither has a slash.
        return Resolved(
            ref=commit, spec=f"{spec.repo}/{commit}", ref_url=url + self._shape.tree.format(commit=commit),
            repo_url=f"{url}.git", slug=f"{self.prefix}/{self._shape.home.host}/{spec.repo}", notice=notice, branch=branch,
        )
