"""Dataverse, wherever a DOI leads to one: `dataverse/10.7910/DVN/TJCLKP`.

The DOI of a dataset means its newest version; the installation to which it leads tells which that is.
"""

import re
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

import escapism

from services.errors import Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.grammar import checked_raw, not_resolved
from services.providers.records import Archive, doi, doi_address, doi_display, doi_of, listed, version
from services.records import File
from services.settings import EgressSettings, ProviderSettings

_DATASET = re.compile(r"10\.\d{4,9}/([A-Za-z0-9.]+/)*[A-Z0-9]{6}")


class Dataverse:
    """Datasets of any Dataverse installation."""

    prefix = "dataverse"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._doi = providers.doi_url
        self._archive = Archive("Dataverse", egress, timeout=providers.timeout, trusted=(providers.doi_url,))
        self.display = doi_display(self.prefix, "Dataverse DOI", "10.7910/DVN/TJCLKP")

    def parse(self, raw: str) -> Spec:
        """A DOI, its slashes escaped or not."""
        return Spec(self.prefix, checked_raw(raw), doi(raw), "")

    def pinned(self, spec: Spec) -> Resolved | None:
        """None: a dataset changes under its DOI."""

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        try:
            page = urlsplit(await self._archive.follow(doi_address(self._doi, spec.repo)))
            asked = parse_qs(page.query).get("persistentId", [f"doi:{spec.repo}"])[0]
            api = f"{page.scheme}://{page.netloc}/api/datasets/:persistentId?persistentId={quote(asked, safe=':/')}"
            record, identifier, where = await self._archive.ask(api, _dataset)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
        slug = "dataverse-" + escapism.escape(identifier.partition("/")[2], escape_char="-").lower()
        return Resolved(ref=record, spec=identifier, ref_url=where, repo_url=spec.repo, slug=slug)

    def recognise(self, url: SplitResult) -> Link | None:
        """DOIs of the shape that Dataverse gives, and pages of datasets on any installation."""
        found = doi_of(url.hostname, url.path)
        if url.path.endswith(("/dataset.xhtml", "/citation")):
            found = parse_qs(url.query).get("persistentId", [""])[0].removeprefix("doi:")
        if not _DATASET.fullmatch(found):
            return None
        return Link(self.prefix, found, "", found)

    async def files(self, repo_url: str, ref: str) -> list[File]:
        """See `Records`: of the version that was resolved, each as it was uploaded."""
        page = urlsplit(await self._archive.follow(doi_address(self._doi, repo_url)))
        asked = parse_qs(page.query).get("persistentId", [f"doi:{repo_url}"])[0]
        base = f"{page.scheme}://{page.netloc}/api"
        number = ref.partition(".v")[2]
        query = f"persistentId={quote(asked, safe=':/')}"
        return list(await self._archive.ask(
            f"{base}/datasets/:persistentId/versions/{quote(number)}/files?{query}", lambda answer: _files(answer, base)))

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._archive.aclose()


def _dataset(answer: Any) -> tuple[str, str, str]:
    """Version, DOI and page of a dataset."""
    if answer["status"] != "OK":
        raise ValueError
    data, latest = answer["data"], answer["data"]["latestVersion"]
    record = version(f"{data['id']}.v{latest['versionNumber']}.{latest['versionMinorNumber']}")
    where = str(data["persistentUrl"])
    if not where.startswith(("https://", "http://")):
        raise ValueError
    return record, f"{data['authority']}/{data['identifier']}", where


def _files(answer: Any, base: str) -> list[File]:
    """The files; what Dataverse has read into a table differs from what was uploaded, which it gives out with `format=original`."""
    found = []
    for entry in answer["data"]:
        file = entry["dataFile"]
        name = str(file.get("originalFileName") or entry["label"])
        path = f"{entry['directoryLabel']}/{name}" if entry.get("directoryLabel") else name
        url = f"{base}/access/datafile/{int(file['id'])}?format=original"
        if "originalFileFormat" in file:
            found.append(File(path, url, int(file.get("originalFileSize") or -1)))
        else:
            found.append(File(path, url, int(file.get("filesize", -1)), f"md5:{file['md5']}" if file.get("md5") else ""))
    return listed(found, unpack=False)
