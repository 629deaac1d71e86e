"""Open Science Framework: `osf/<id>` of a public project or registration, or its DOI `10.17605/OSF.IO/<ID>`.

A project changes under its address; the time of its last change is the version.
"""

import re
from typing import Any
from urllib.parse import SplitResult

from services.errors import BadSpec, Forbidden, Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.grammar import checked_raw, not_resolved, unquoted
from services.providers.origin import origin
from services.providers.records import Archive, doi_of, epoch
from services.records import File
from services.settings import EgressSettings, ProviderSettings

_ID = re.compile(r"(?:(?:https?://)?(?:www\.)?osf\.io/|(?:https?://doi\.org/|doi:)?10\.17605/osf\.io/)?([a-z0-9]{5})/?", re.IGNORECASE)


class OpenScienceFramework:
    """Projects of the Open Science Framework."""

    prefix = "osf"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._home, self._api = origin(providers.osf_url, "providers.osf_url"), origin(providers.osf_api, "providers.osf_api")
        self._archive = Archive("OSF", egress, timeout=providers.timeout, trusted=(self._api.text,))
        self.display: dict[str, Any] = {
            "displayName": "Open Science Framework",
            "id": "osf",
            "spec": {"validateRegex": r"[A-Za-z0-9]{5}"},
            "detect": {"regex": "^(https?://osf.io/)?(?<repo>[A-Za-z0-9]{5})/?"},
            "repo": {"label": "OSF project id or URL", "placeholder": "example: https://osf.io/ezcuj", "urlEncode": False},
            "ref": {"enabled": False},
        }

    def parse(self, raw: str) -> Spec:
        """The five characters of a project, alone or in its address or DOI."""
        raw = checked_raw(raw)
        match = _ID.fullmatch(unquoted(raw))
        if match is None:
            raise BadSpec("This is not the id of an OSF project, which has five letters and digits, as in https://osf.io/ezcuj.")
        project = match[1].lower()
        return Spec(self.prefix, raw, f"{self._home.text}/{project}/", "", extra={"id": project})

    def pinned(self, spec: Spec) -> Resolved | None:
        """None: a project changes under its address."""

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        project = spec.extra["id"]
        try:
            try:
                public, changed = await self._archive.ask(f"{self._api.text}/nodes/{project}/", _project)
            except Unresolved:
                public, changed = await self._archive.ask(f"{self._api.text}/registrations/{project}/", _project)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
        if not public:
            raise Forbidden(f"The OSF project {project} is private; only public ones can be launched.")
        return Resolved(
            ref=f"{project}.v{changed}", spec=project, ref_url=spec.repo, repo_url=spec.repo, slug=f"osf-{project}"
        )

    def recognise(self, url: SplitResult) -> Link | None:
        """Pages of projects and their DOIs."""
        found = doi_of(url.hostname, url.path)
        if self._home.is_at(url.hostname, url.port) or (url.hostname or "").removeprefix("www.") == "osf.io":
            project = url.path.strip("/").split("/")[0]
        elif match := re.fullmatch(r"10\.17605/osf\.io/([a-z0-9]{5})", found, re.IGNORECASE):
            project = match[1]
        else:
            return None
        spec = self.parse(project)
        return Link(self.prefix, spec.repo, "", spec.extra["id"])

    async def files(self, repo_url: str, ref: str) -> list[File]:
        """See `Records`: the project's own storage as one package, which OSF makes when it is asked for."""
        project = self.parse(repo_url).extra["id"]
        try:
            where = await self._archive.ask(f"{self._api.text}/nodes/{project}/files/", _storage)
        except Unresolved:
            where = await self._archive.ask(f"{self._api.text}/registrations/{project}/files/", _storage)
        return [File("the project's storage", f"{where}?zip=", unpack="zip")]

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._archive.aclose()


def _project(answer: Any) -> tuple[bool, int]:
    attributes = answer["data"]["attributes"]
    return bool(attributes["public"]), epoch(attributes["date_modified"])


def _storage(answer: Any) -> str:
    """Where OSF's own storage of a project answers (not that of services which people have joined to it)."""
    own = next(entry for entry in answer["data"] if entry["attributes"]["provider"] == "osfstorage")
    return str(own["links"]["upload"]).partition("?")[0]
