"""HydroShare: `hydroshare/<anything with a resource id>`, such as the escaped address of a resource or its DOI.

HydroShare keeps no history; the time of the last change is the version.
"""

import re
from typing import Any
from urllib.parse import SplitResult, quote

from services.errors import BadSpec, Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.grammar import checked_raw, not_resolved, unquoted
from services.providers.origin import origin
from services.providers.records import Archive, doi_of, epoch
from services.records import File
from services.settings import EgressSettings, ProviderSettings

_RESOURCE = re.compile(r".*([0-9a-f]{32}).*", re.DOTALL)


class HydroShare:
    """Resources of HydroShare."""

    prefix = "hydroshare"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._home = origin(providers.hydroshare_url, "providers.hydroshare_url")
        self._archive = Archive("HydroShare", egress, timeout=providers.timeout, trusted=(self._home.text,))
        self.display: dict[str, Any] = {
            "displayName": "Hydroshare resource",
            "id": "hydroshare",
            "spec": {"validateRegex": r"[^/]+"},
            "repo": {
                "label": "Hydroshare resource id",
                "placeholder": "example: 8f7c2f0341ef4180b0dbe97f59130756",
                "urlEncode": True,
            },
            "ref": {"enabled": False},
        }

    def parse(self, raw: str) -> Spec:
        """Anything in which 32 hex digits stand; the last ones count."""
        raw = checked_raw(raw)
        match = _RESOURCE.fullmatch(unquoted(raw))
        if match is None:
            raise BadSpec("The specified Hydroshare resource id was not recognized.")
        return Spec(self.prefix, raw, f"{self._home.text}/resource/{match[1]}", "", extra={"id": match[1]})

    def pinned(self, spec: Spec) -> Resolved | None:
        """None: a resource changes under its address."""

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        resource = spec.extra["id"]
        try:
            changed = await self._archive.ask(f"{self._home.text}/hsapi/resource/{resource}/scimeta/elements", _changed)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
        return Resolved(
            ref=f"{resource}.v{changed}", spec=quote(spec.repo, safe=""), ref_url=spec.repo, repo_url=spec.repo,
            slug=f"hydroshare-{resource}.v{changed}",
        )

    def recognise(self, url: SplitResult) -> Link | None:
        """HydroShare's pages of resources and its DOIs."""
        found = doi_of(url.hostname, url.path)
        here = self._home.is_at(url.hostname, url.port) or (url.hostname or "").removeprefix("www.") == "hydroshare.org"
        match = _RESOURCE.fullmatch(url.path) if here else re.fullmatch(r"10\.4211/hs\.([0-9a-f]{32})", found)
        if match is None:
            return None
        repo = f"{self._home.text}/resource/{match[1]}"
        return Link(self.prefix, repo, "", quote(repo, safe=""))

    async def files(self, repo_url: str, ref: str) -> list[File]:
        """See `Records`: the resource's bag (BagIt), which is made when it is asked for."""
        resource = self.parse(repo_url).extra["id"]
        url = f"{self._home.text}/django_irods/download/bags/{resource}.zip"
        return [File("the resource", url, unpack="zip", inside=f"{resource}/data/contents", made=True)]

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._archive.aclose()


def _changed(answer: Any) -> int:
    return epoch(next(date["start_date"] for date in answer["dates"] if date["type"] == "modified"))
