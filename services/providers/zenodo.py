"""Zenodo, and other archives that run its software: `zenodo/10.5281/zenodo.3242074`.

A DOI may mean a record or all versions of it; the DOI system leads to the newest, whose number is the version.
"""

import re
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from services.errors import Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.grammar import checked_raw, not_resolved
from services.providers.records import Archive, doi, doi_address, doi_display, doi_of, listed, version
from services.records import File
from services.settings import EgressSettings, ProviderSettings

_PAGE = re.compile(r"/records?/(\d+)(/.*)?")


class Zenodo:
    """Records of Zenodo."""

    prefix = "zenodo"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._doi = providers.doi_url
        self._archive = Archive("Zenodo", egress, timeout=providers.timeout, trusted=(providers.doi_url,))
        self.display = doi_display(self.prefix, "Zenodo DOI", "10.5281/zenodo.3242074")

    def parse(self, raw: str) -> Spec:
        """A DOI, its slashes escaped or not."""
        return Spec(self.prefix, checked_raw(raw), doi(raw), "")

    def pinned(self, spec: Spec) -> Resolved | None:
        """None: only the DOI system tells a record from all its versions."""

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        try:
            page = await self._archive.follow(doi_address(self._doi, spec.repo))
            record = version(unquote(urlsplit(page).path.rstrip("/").rsplit("/", 1)[-1]))
        except (Unresolved, ValueError) as error:
            detail = str(error) if isinstance(error, Unresolved) else "The DOI does not lead to a record."
            raise Unresolved(not_resolved(self.prefix, spec.raw, detail)) from error
        # The DOI of the resolved record, not the one of all versions: what is built is what was resolved.
        before, found, _ = spec.repo.partition("zenodo.")
        pinned = f"{before}zenodo.{record}" if found else spec.repo
        return Resolved(
            ref=record, spec=pinned, ref_url=f"https://doi.org/{pinned}", repo_url=pinned, slug=f"zenodo-{record}"
        )

    def recognise(self, url: SplitResult) -> Link | None:
        """Zenodo's DOIs and pages of records."""
        found = doi_of(url.hostname, url.path)
        if url.hostname == "zenodo.org":
            page = _PAGE.fullmatch(url.path)
            found = f"10.5281/zenodo.{page[1]}" if page else unquote(url.path).removeprefix("/doi/").strip("/")
        if not re.fullmatch(r"10\.5281/zenodo\.\d+", found):
            return None
        return Link(self.prefix, found, "", found)

    async def files(self, repo_url: str, ref: str) -> list[File]:
        """See `Records`."""
        page = urlsplit(await self._archive.follow(doi_address(self._doi, repo_url)))
        return list(await self._archive.ask(f"{page.scheme}://{page.netloc}/api/records/{quote(ref)}", _files))

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._archive.aclose()


def _files(answer: Any) -> list[File]:
    """The files of a record, in today's words of the software (`key`, `links.self`) and in those of before 2023."""
    found = []
    for file in answer["files"]:
        links, checksum = file["links"], str(file.get("checksum", ""))
        found.append(File(
            str(file.get("key") or file["filename"]), str(links.get("content") or links.get("self") or links["download"]),
            int(file.get("size", file.get("filesize", -1))), checksum if ":" in checksum or not checksum else f"md5:{checksum}"))
    return listed(found)

