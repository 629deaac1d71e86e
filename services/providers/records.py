"""What the providers of published records share: DOIs, where they lead, and versions that can be an image's tag.

A DOI may be registered by anybody to lead anywhere, so following it obeys the egress rule like every link.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from services.egress import Answer, Fetcher, Purpose, Rule
from services.errors import Forbidden, ForbiddenAddress, RateLimited, Unreachable, Unresolved
from services.providers.cache import Shared
from services.providers.grammar import PROTOCOLS, checked_raw, git_url, malformed, unquoted
from services.providers.origin import origin
from services.records import File
from services.settings import EgressSettings

_DOI = re.compile(r"10\.\d{4,9}/[^\s\x00-\x1f\x7f-\x9f\\?#]+")
MOST = 2000  # files of a record that is not one archive
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def doi(raw: str) -> str:
    """The DOI that a spec is, such as `10.5281/zenodo.3242074`; raises `BadSpec`."""
    text = unquoted(checked_raw(raw))
    text = re.sub(r"^(doi:|https?://(dx\.)?doi\.org/)", "", text, flags=re.IGNORECASE)
    if not _DOI.fullmatch(text) or "/../" in f"{text}/" or "/./" in f"{text}/":
        raise malformed("10.prefix/identifier", raw)
    return text


def doi_of(hostname: str | None, path: str) -> str:
    """The DOI in an address of the DOI system; "" for any other address or DOI."""
    found = unquoted(path.strip("/")) if (hostname or "") in ("doi.org", "dx.doi.org") else ""
    return found if _DOI.fullmatch(found) else ""


def doi_display(prefix: str, label: str, example: str) -> dict[str, Any]:
    """How a form asks for a DOI of an archive, in BinderHub's words."""
    return {
        "displayName": label,
        "id": prefix,
        "spec": {"validateRegex": r"10\.\d+\/(.)+"},
        "repo": {"label": label, "placeholder": f"example: {example}", "urlEncode": False},
        "ref": {"enabled": False},
    }


def version(text: str) -> str:
    """A record's version as the tag of an image; raises ValueError for one that cannot be a tag."""
    if not _TAG.fullmatch(text):
        raise ValueError(text)
    return text


def epoch(date: str) -> int:
    """Whole seconds since the epoch of an ISO date, which is UTC when it names no zone."""
    moment = datetime.fromisoformat(date)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def web_url(text: str) -> str:
    """An http or https address without credentials; raises `BadSpec` or `ForbiddenAddress`."""
    scheme = text.partition("://")[0].lower()
    if scheme in PROTOCOLS and scheme not in ("http", "https"):
        raise ForbiddenAddress("The address of the record must begin with https:// or http://.")
    git_url(re.split(r"[?#]", text, maxsplit=1)[0])
    return f"{scheme}{text[len(scheme):]}"


class Archive:
    """Asks the services of one archive; one request serves everybody who wants the same at the same time."""

    def __init__(self, name: str, egress: EgressSettings, *, timeout: float, trusted: tuple[str, ...] = ()) -> None:
        self._name = name
        pairs = [origin(address, "providers").pair for address in trusted]
        self._fetcher = Fetcher(Rule.make(egress, Purpose.FETCH, pairs), timeout=timeout)
        self._shared: Shared[str, Any] = Shared()

    async def ask(self, url: str, extract: Callable[[Any], Any]) -> Any:
        """What `extract` finds in the JSON at `url`; it may raise LookupError, TypeError or ValueError.

        Raises `Unresolved`, `Forbidden`, `Unreachable` or `RateLimited`.
        """

        async def call() -> Any:
            answer = self._good(await self._fetcher.get(url, {"Accept": "application/json"}))
            try:
                return extract(answer.json())
            except (LookupError, TypeError, ValueError) as error:
                raise Unreachable(f"{self._name} answered something unexpected; try again later.") from error

        return await self._shared.get(url, call)

    async def follow(self, url: str) -> str:
        """Where the redirects of `url` end. Raises as `ask`."""

        async def call() -> str:
            return self._good(await self._fetcher.get(url, redirects=8, body=False)).url

        return str(await self._shared.get(url, call))

    async def made(self, url: str, extract: Callable[[Any], str], patience: float) -> str:
        """Ask for something that is made on demand, and again until `extract` finds it. Raises as `ask`.

        POST asks for it (it may be asked for twice), GET how far it is.
        """
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + patience, 0.5
        answer = await self._fetcher.get(url, {"Accept": "application/json"})
        if answer.status == 404:
            answer = await self._fetcher.post(url, {"Accept": "application/json"})
        while True:
            try:
                found = extract(self._good(answer).json())
            except (LookupError, TypeError, ValueError) as error:
                raise Unreachable(f"{self._name} answered something unexpected; try again later.") from error
            if found:
                return found
            if loop.time() > until:
                raise Unreachable(f"{self._name} has not made its package of this record in time; try again later.")
            await asyncio.sleep(pause)
            pause = min(10.0, 1.5 * pause)
            answer = await self._fetcher.get(url, {"Accept": "application/json"})

    async def aclose(self) -> None:
        """Close connections."""
        await self._shared.aclose()
        await self._fetcher.aclose()

    def _good(self, answer: Answer) -> Answer:
        host = urlsplit(answer.url).hostname
        if answer.status in (404, 410):
            raise Unresolved(f"{host} knows no such record; check the link for a typing error.")
        if answer.status in (401, 403, 451):
            raise Forbidden(f"{host} does not show this record to everybody; only public ones can be launched.")
        if answer.status == 429:
            raise RateLimited(f"{host} refuses to answer so many requests; try again in some minutes.")
        if answer.status != 200:
            raise Unreachable(f"{host} answers with an error of its own ({answer.status}); try again later.")
        return answer


def doi_address(base: str, identifier: str) -> str:
    """Where a DOI is resolved."""
    return f"{base.rstrip('/')}/{quote(identifier, safe='/:;()._-')}"


def listed(files: list[File], *, unpack: bool = True) -> list[File]:
    """The files of a record, when there are some and not too many; a single zip archive is unpacked, as repo2docker does."""
    if not files:
        raise Unresolved("This record has no files that can be downloaded.")
    if len(files) > MOST:
        raise Unresolved(f"This record has more than {MOST:,} files, which is more than can be served here.")
    if unpack and len(files) == 1 and files[0].path.lower().endswith(".zip"):
        return [replace(files[0], unpack="zip", inside="*")]
    return files
