"""Figshare: `figshare/10.6084/m9.figshare.9782777[.v1]`.

A DOI without a version means the newest; Figshare's API lists the versions.
"""

import re
from typing import Any
from urllib.parse import SplitResult

from services.errors import Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.grammar import checked_raw, malformed, not_resolved
from services.providers.records import Archive, doi, doi_address, doi_display, doi_of, listed
from services.records import File
from services.settings import EgressSettings, ProviderSettings

_ARTICLE = re.compile(r"(10\.\d{4,9}/.*?)\.?(\d+)(?:\.v(\d+))?")
_PAGE = re.compile(r"/articles/(?:[^/]+/)*?(\d+)(?:/(\d+))?/?")


class Figshare:
    """Articles of Figshare."""

    prefix = "figshare"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._doi, self._api = providers.doi_url, providers.figshare_api.rstrip("/")
        trusted = (providers.doi_url, providers.figshare_api)
        self._archive = Archive("Figshare", egress, timeout=providers.timeout, trusted=trusted)
        self.display = doi_display(self.prefix, "FigShare DOI", "10.6084/m9.figshare.9782777.v1")

    def parse(self, raw: str) -> Spec:
        """A DOI whose last part is the number of the article, with or without `.vN` behind it."""
        identifier = doi(raw)
        if (match := _ARTICLE.fullmatch(identifier)) is None or "." not in match[1].partition("/")[2]:
            raise malformed("10.prefix/m9.figshare.number[.vN]", raw)
        parts = {"before": match[1], "article": match[2], "version": match[3] or ""}
        return Spec(self.prefix, checked_raw(raw), identifier, "", extra=parts)

    def pinned(self, spec: Spec) -> Resolved | None:
        """None: the DOI must exist."""

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        article, version = spec.extra["article"], spec.extra["version"]
        try:
            await self._archive.follow(doi_address(self._doi, spec.repo))
            if not version:
                version = await self._archive.ask(f"{self._api}/articles/{article}/versions", _newest)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
        pinned = f"{spec.extra['before']}.{article}.v{version}"
        return Resolved(
            ref=f"{article}.v{version}", spec=pinned, ref_url=f"https://doi.org/{pinned}", repo_url=pinned,
            slug=f"figshare-{article}.v{version}",
        )

    def recognise(self, url: SplitResult) -> Link | None:
        """Figshare's DOIs and pages of articles."""
        found = doi_of(url.hostname, url.path)
        if (url.hostname or "").removeprefix("www.") == "figshare.com":
            if (page := _PAGE.fullmatch(url.path)) is None:
                return None
            found = f"10.6084/m9.figshare.{page[1]}" + (f".v{page[2]}" if page[2] else "")
        if not re.fullmatch(r"10\.\d{4,9}/(.*\.)?figshare\.\d+(\.v\d+)?", found):
            return None
        return Link(self.prefix, found, "", found)

    async def files(self, repo_url: str, ref: str) -> list[File]:
        """See `Records`."""
        article, _, number = ref.partition(".v")
        return list(await self._archive.ask(f"{self._api}/articles/{article}/versions/{number}", _files))

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._archive.aclose()


def _newest(answer: Any) -> str:
    return str(max(int(entry["version"]) for entry in answer))


def _files(answer: Any) -> list[File]:
    return listed([
        File(str(file["name"]), str(file["download_url"]), int(file["size"]), f"md5:{found}" if (found := file.get("computed_md5")) else "")
        for file in answer["files"] if not file.get("is_link_only")
    ])
