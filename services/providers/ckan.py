"""CKAN, on any host: `ckan/<escaped address of a dataset>`.

The address may name a state of the past (`/history/<activity>` or `?activity_id=`); the time of its last change is the version.
CKAN may stand below a path of its host.
"""

import re
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, urlencode, urlsplit, urlunsplit

from services.errors import BadSpec, Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.grammar import checked_raw, not_resolved, unquoted
from services.providers.records import Archive, epoch, listed, web_url
from services.records import File
from services.settings import EgressSettings, ProviderSettings

_DATASET = re.compile(r"(.*)/dataset/([A-Za-z0-9_-]{1,100})(?:/.*)?")
_ACTIVITY = re.compile(r"[A-Za-z0-9-]{1,64}")


class Ckan:
    """Datasets of any CKAN."""

    prefix = "ckan"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._archive = Archive("CKAN", egress, timeout=providers.timeout)
        self.display: dict[str, Any] = {
            "displayName": "CKAN dataset",
            "id": "ckan",
            "spec": {"validateRegex": r"[^/]+"},
            "repo": {
                "label": "CKAN dataset URL",
                "placeholder": "https://demo.ckan.org/dataset/my-sample-dataset-001",
                "urlEncode": True,
            },
            "ref": {"enabled": False},
        }

    def parse(self, raw: str) -> Spec:
        """The escaped address of a dataset, with or without an activity."""
        raw = checked_raw(raw)
        text = web_url(unquoted(raw))
        url = urlsplit(text)
        match = _DATASET.fullmatch(url.path)
        if match is None:
            raise BadSpec("This is not the address of a CKAN dataset; it has the form https://host/dataset/name.")
        past = re.search(r"/history/([^/]+)", url.path)
        activity = past[1] if past else parse_qs(url.query).get("activity_id", [""])[0]
        if activity and not _ACTIVITY.fullmatch(activity):
            raise BadSpec("The activity in the address of the CKAN dataset is not the id of one.")
        api = urlunsplit((url.scheme, url.netloc, f"{match[1]}/api/3/action/", "", ""))
        return Spec(self.prefix, raw, text, "", extra={"api": api, "id": match[2], "activity": activity})

    def pinned(self, spec: Spec) -> Resolved | None:
        """None: a dataset changes under its address."""

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        dataset = spec.extra["id"]
        try:
            changed = await self._archive.ask(self._asked(spec), _changed)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
        return Resolved(
            ref=f"{dataset}.v{changed}", spec=quote(spec.repo, safe=""), ref_url=spec.repo, repo_url=spec.repo,
            slug=f"ckan-{dataset}",
        )

    @staticmethod
    def _asked(spec: Spec) -> str:
        """Where the API tells of a dataset, at the state that its address names."""
        action, query = "package_show", {"id": spec.extra["id"]}
        if spec.extra["activity"]:
            action, query = "activity_data_show", {"id": spec.extra["activity"], "object_type": "package"}
        return f"{spec.extra['api']}{action}?{urlencode(query)}"

    def recognise(self, url: SplitResult) -> Link | None:
        """Pages of datasets, on any host."""
        if url.scheme not in ("http", "https") or url.path.endswith(".git") or not _DATASET.fullmatch(url.path):
            return None
        repo = urlunsplit((url.scheme, url.netloc, url.path, url.query, ""))
        return Link(self.prefix, repo, "", quote(repo, safe=""))

    async def files(self, repo_url: str, ref: str) -> list[File]:
        """See `Records`: the resources of the dataset, wherever they are."""
        spec = self.parse(quote(repo_url, safe=""))
        return list(await self._archive.ask(self._asked(spec), _files))

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._archive.aclose()


def _changed(answer: Any) -> int:
    return epoch(answer["result"]["metadata_modified"])


def _files(answer: Any) -> list[File]:
    """The resources that are files; one without a name in its address has the name that people see."""
    found: dict[str, File] = {}
    for resource in answer["result"]["resources"]:
        url = urlsplit(str(resource["url"]))
        if url.scheme not in ("http", "https"):
            continue
        shown = re.sub(r"[/\x00-\x1f]", "-", str(resource.get("name") or resource["id"]))
        name = unquoted(url.path.rstrip("/").rpartition("/")[2]).replace("/", "-") or shown
        path = name if name not in found else f"{resource['id']}/{name}"
        found[path] = File(path, urlunsplit(url))
    return listed(list(found.values()), unpack=False)
