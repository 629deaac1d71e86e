"""Software Heritage: `swh/<SWHID>`, such as `swh/swh:1:rev:94dca98c006b80309704c717b5d83dff3c1fa3a0`.

A SWHID of a revision or of a directory is a hash of the content: it is its own version, and resolving needs no request.
Releases and snapshots are looked up for the revision that they name. Qualifiers (`;origin=…`) say where the content was
found; `path` says what to open; they change nothing about what is built. The identifiers are defined by ISO/IEC 18670.
"""

import re
from typing import Any
from urllib.parse import SplitResult

from services.errors import BadSpec, Unresolved
from services.providers.base import Link, Resolved, Spec
from services.providers.grammar import checked_raw, malformed, not_resolved, unquoted
from services.providers.origin import origin
from services.providers.records import Archive
from services.records import File
from services.settings import EgressSettings, ProviderSettings

_ID = re.compile(r"swh:1:(rev|dir|rel|snp|cnt):([0-9a-f]{40})((?:;[a-z]+=[^;\s\x00-\x1f\x7f]*)*)", re.IGNORECASE)
_HOPS = 5
_PATIENCE = 1800.0  # seconds that the archive may take to pack a directory


class SoftwareHeritage:
    """The archive of Software Heritage."""

    prefix = "swh"

    def __init__(self, providers: ProviderSettings, egress: EgressSettings) -> None:
        self._home = origin(providers.swh_url, "providers.swh_url")
        self._archive = Archive("Software Heritage", egress, timeout=providers.timeout, trusted=(self._home.text,))
        self.display: dict[str, Any] = {
            "displayName": "Software Heritage",
            "id": "swh",
            "spec": {"validateRegex": r"swh:1:(rev|dir|rel|snp):[0-9a-f]{40}.*"},
            "repo": {
                "label": "Software Heritage identifier (SWHID)",
                "placeholder": "example: swh:1:rev:94dca98c006b80309704c717b5d83dff3c1fa3a0",
                "urlEncode": False,
            },
            "ref": {"enabled": False},
        }

    def parse(self, raw: str) -> Spec:
        """A SWHID of a revision, directory, release or snapshot, with or without qualifiers."""
        raw = checked_raw(raw)
        match = _ID.fullmatch(unquoted(raw))
        if match is None:
            raise malformed("swh:1:rev:<40 hex digits>", raw)
        kind, digits = match[1].lower(), match[2].lower()
        if kind == "cnt":
            raise BadSpec("This identifier names a single file (cnt); take the one of the revision or directory that it is in.")
        pinned = kind in ("rev", "dir")
        return Spec(self.prefix, raw, f"swh:1:{kind}:{digits}", "", pinned=pinned, extra={"kind": kind, "id": digits})

    def pinned(self, spec: Spec) -> Resolved | None:
        """See `Provider`."""
        return self._resolved(spec.extra["kind"], spec.extra["id"]) if spec.pinned else None

    async def resolve(self, spec: Spec) -> Resolved:
        """See `Provider`."""
        kind, digits = spec.extra["kind"], spec.extra["id"]
        try:
            for _ in range(_HOPS):
                if kind in ("rev", "dir"):
                    return self._resolved(kind, digits)
                kind, digits = await self._archive.ask(self._api(kind, digits), _release if kind == "rel" else _snapshot)
        except Unresolved as error:
            raise Unresolved(not_resolved(self.prefix, spec.raw, str(error))) from error
        raise Unresolved(not_resolved(self.prefix, spec.raw, "It leads to no revision."))

    def recognise(self, url: SplitResult) -> Link | None:
        """Identifiers, alone or in an address of the archive, such as https://archive.softwareheritage.org/swh:1:rev:…"""
        text = f"swh:{url.path}" if url.scheme == "swh" else url.path
        if url.scheme != "swh" and not self._home.is_at(url.hostname, url.port):
            return None
        found = re.search(r"swh:1:[a-z]{3}:[0-9a-f]{40}", text, re.IGNORECASE)
        if found is None:
            raise BadSpec("Take the permalink of a revision or directory from the page: it has the form …/swh:1:rev:….")
        spec = self.parse(found[0])
        path = re.search(r";path=/?([^;]+)", unquoted(text))
        return Link(self.prefix, spec.repo, "", spec.repo, file=path[1] if path else "")

    async def files(self, repo_url: str, ref: str) -> list[File]:
        """See `Records`: the directory as the archive's vault packs it, which may take minutes the first time."""
        spec = self.parse(repo_url)
        kind, digits = spec.extra["kind"], spec.extra["id"]
        if kind == "rev":
            digits = await self._archive.ask(f"{self._home.text}/api/1/revision/{digits}/", _directory)
        name = f"swh:1:dir:{digits}"
        where = await self._archive.made(f"{self._home.text}/api/1/vault/flat/{name}/", _packed, _PATIENCE)
        return [File(name, where, unpack="tar", inside=name)]

    async def aclose(self) -> None:
        """See `Provider`."""
        await self._archive.aclose()

    def _api(self, kind: str, digits: str) -> str:
        return f"{self._home.text}/api/1/{'release' if kind == 'rel' else 'snapshot'}/{digits}/"

    def _resolved(self, kind: str, digits: str) -> Resolved:
        identifier = f"swh:1:{kind}:{digits}"
        return Resolved(
            ref=digits, spec=identifier, ref_url=f"{self._home.text}/{identifier}", repo_url=identifier, slug=f"swh-{kind}-{digits}"
        )


def _target(kind: object, digits: object) -> tuple[str, str]:
    kinds = {"revision": "rev", "directory": "dir", "release": "rel", "snapshot": "snp"}
    if not isinstance(digits, str) or not re.fullmatch(r"[0-9a-f]{40}", digits):
        raise ValueError(digits)
    return kinds[str(kind)], digits


def _release(answer: Any) -> tuple[str, str]:
    return _target(answer["target_type"], answer["target"])


def _snapshot(answer: Any) -> tuple[str, str]:
    """The branch HEAD of a snapshot, through aliases."""
    branch = answer["branches"]["HEAD"]
    for _ in range(_HOPS):
        if branch["target_type"] != "alias":
            return _target(branch["target_type"], branch["target"])
        branch = answer["branches"][branch["target"]]
    raise ValueError("aliases")


def _directory(answer: Any) -> str:
    return _target("directory", answer["directory"])[1]


def _packed(answer: Any) -> str:
    """Where the package is; "" as long as it is made."""
    if answer["status"] == "failed":
        why = str(answer.get("progress_message") or "no reason given")[:200]
        raise Unresolved(f"Software Heritage cannot pack this directory ({why}).")
    return str(answer["fetch_url"]) if answer["status"] == "done" else ""
