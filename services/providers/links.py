"""Read whatever somebody pastes: the address of a page on a forge, `owner/repository`, a git address, a Binder link, a badge.

No request is made, so what only a forge could tell is decided by a rule and said in a note (does
`tree/feature/x` name the branch `feature/x`, or the directory `x` of `feature`?), and what could be two
things is an error that shows both.
"""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from services.egress.resolve import printable
from services.errors import BadSpec, UnknownProvider
from services.providers.base import Link, Provider
from services.providers.grammar import PROTOCOLS, checked_characters, git_url

_LONGEST = 4096
_BINDER = re.compile(r"""https?://[^\s"'<>()\[\]]+/v2/[^\s"'<>()\[\]]+""")
_ADDRESS = re.compile(r"""(?:git\+)?(?:https?|git|ssh)://[^\s"'<>()\[\]]+|[\w-]+@[\w.-]+:[^\s"'<>()\[\]]+""")
_SCP = re.compile(r"([\w-]+)@([\w.-]+):(?!//)(.+)", re.ASCII)
_SPEC = re.compile(r"(?:.*/)?(?:v2|build)/([a-z][a-z0-9-]*)/(.+)", re.DOTALL)
_DOI = re.compile(r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
_SHORT = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9_.-]+?)(?:\.git)?/?(?:@([^\s@]+))?")
_LOCAL = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|[\w-]+)[:/]")
# Hosts of records, for a sentence that says more than "no git repository".
_RECORDS = re.compile(r"(.*\.)?(zenodo\.org|figshare\.com|hydroshare\.org|osf\.io)|dataverse\..+|archive\.softwareheritage\.org")


def read_link(text: str, providers: Mapping[str, Provider]) -> Link:
    """What `text` means, for the providers that are offered.

    Raises `BadSpec`, `ForbiddenAddress` or `UnknownProvider` with a sentence that says how to write the
    link; none repeats an address that may hold credentials.
    """
    text = _unwrapped(text)
    if doi := _DOI.fullmatch(text):
        return _record(f"https://doi.org/{doi[1]}", providers)
    if text.lower().startswith("swh:"):
        return _record(text, providers)
    if scp := _SCP.fullmatch(text):
        text = f"ssh://{scp[1]}@{scp[2]}/{scp[3]}"
    text = text.removeprefix("git+")
    if "://" not in text:
        if not _has_host(text):
            return _short(text, providers)
        text = f"{'http' if _LOCAL.match(text) else 'https'}://{text}"
    return _address(text, providers)


def _unwrapped(text: str) -> str:
    """The link in what may be a badge in Markdown, reStructuredText or HTML, a shell command, or a link in brackets."""
    text = text.strip()
    if not text:
        raise BadSpec("Paste the address of a repository, such as https://github.com/user/repository.")
    if len(text) > _LONGEST:
        raise BadSpec(f"The link is too long ({len(text)} characters; {_LONGEST} at most).")
    checked_characters(text)
    if not re.search(r"[\s<>()\[\]\"']", text):
        return text
    if re.match(r"https?://", text) and not re.search(r"[\n<>\[\]]|://.*://", text):
        return text.replace(" ", "%20")  # the name of a file, as some browsers show it
    found = list(dict.fromkeys(_BINDER.findall(text) or _ADDRESS.findall(text)))
    if len(found) > 1:
        raise BadSpec("There is more than one link in this text; paste one of them.")
    return found[0] if found else text


def _has_host(text: str) -> bool:
    """Whether a text without a scheme begins with a host: GitHub's user names have no dots."""
    return re.match(r"([\w-]+(\.[\w-]+)+(:\d+)?|[\w-]+:\d+)/.", text) is not None


def _short(text: str, providers: Mapping[str, Provider]) -> Link:
    match = _SHORT.fullmatch(text)
    if match and "gh" in providers:
        user, repo, ref = match[1], match[2], match[3] or "HEAD"
        return _from_spec("gh", f"{user}/{repo}/{quote(ref, safe='/')}", providers)
    if match:
        raise BadSpec(f"{printable(text)} does not say on which forge it is; write the whole address, beginning with https://.")
    if re.fullmatch(r"[\w.-]+(/[\w.-]+){2,}", text):
        user, repo, rest = text.split("/", 2)
        raise BadSpec(
            f'{printable(text)} could be the branch "{rest}" of {user}/{repo} on GitHub, or a project in a group on GitLab; '
            f'write "{user}/{repo}@{rest}" for the branch, or the whole address, beginning with https://.'
        )
    if re.match(r"[a-z][a-z0-9+.-]*:", text, re.IGNORECASE) and "@" not in text:
        git_url(text)  # its sentence about the protocol
    raise BadSpec(
        "This is no link that can be launched. Paste the address of a repository or of a file in it, such as "
        "https://github.com/user/repository, or user/repository for one on GitHub."
    )


def _address(text: str, providers: Mapping[str, Provider]) -> Link:
    url = _checked(text)
    others = [provider for prefix, provider in providers.items() if prefix != "git"]
    for provider in others:
        if (link := provider.recognise(url)) is not None:
            return link
    if match := _SPEC.fullmatch(url.path):
        return _from_spec(match[1], match[2], providers, url.query)
    if _RECORDS.fullmatch(url.hostname or ""):
        return _record(text, providers)
    link = providers["git"].recognise(url) if "git" in providers else None
    if link is None:
        raise BadSpec(f"Repositories on {url.hostname} are not offered here; offered are {_offered(providers)}.")
    return link


def _checked(text: str) -> SplitResult:
    """The address in parts, if it has a protocol that is fetched, a proper host, and no credentials."""
    scheme, _, rest = text.partition("://")
    if scheme.lower() in PROTOCOLS:
        git_url(f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}/-")
    else:
        git_url(text)
    return urlsplit(f"{scheme.lower()}://{rest}")


def _from_spec(prefix: str, raw: str, providers: Mapping[str, Provider], query: str = "") -> Link:
    provider = providers.get(prefix)
    if provider is None:
        raise UnknownProvider(f"Links of the kind {printable(prefix, 30)} are not offered here; offered are {_offered(providers)}.")
    spec = provider.parse(raw)
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    return Link(
        prefix, spec.repo, spec.ref, spec.raw, urlpath=_urlpath(fields), subdir=fields.get("subdir", ""),
        environment=fields.get("environment", ""),
    )


def _urlpath(fields: Mapping[str, str]) -> str:
    """The path in the server that a Binder link's query asks for, by the rule of BinderHub's page (labpath first)."""
    if path := fields.get("labpath", ""):
        return f"doc/tree/{quote(path.rstrip('/'))}"
    if path := fields.get("filepath", ""):
        return f"tree/{quote(path.rstrip('/'))}"
    return fields.get("urlpath", "")


def _record(address: str, providers: Mapping[str, Provider]) -> Link:
    """A DOI or the page of a record, for the providers that know one."""
    url = urlsplit(address)
    for prefix, provider in providers.items():
        if prefix != "git" and (link := provider.recognise(url)) is not None:
            return link
    raise BadSpec(
        f"{printable(unquote(address))} is a record, not a git repository. Records and DOIs are not offered here; if it is "
        "kept in a git repository too, paste the address of that."
    )


def _offered(providers: Mapping[str, Provider]) -> str:
    return ", ".join(str(provider.display["displayName"]) for provider in providers.values())
