"""The parts of specs that several providers share: refs, commit ids, git addresses, and the sentences about them.

Pure. A spec comes from a stranger's link; what leaves this module can be given to git and to a forge: a ref
that `git check-ref-format` accepts and that no program takes for an option, an address with a known
protocol, a plain host and no credentials.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from services.egress.resolve import normal_host, printable
from services.errors import BadSpec, ForbiddenAddress

PROTOCOLS = ("http", "ssh", "https", "git")  # in the order of BinderHub's sentence
_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}
_LONGEST = 2048
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")
_SHORT_COMMIT = re.compile(r"[0-9a-fA-F]{4,39}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")
_SCP = re.compile(r"([\w\-]+@[\w\-.]+):(.+)", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_CREDENTIALS = (
    "The address carries a user name or password. Remove it: links are public, and only repositories "
    "that need no login can be launched from one."
)


def checked_raw(raw: str) -> str:
    """The spec as it came, without the slashes at its end; raises `BadSpec` for one that nobody means."""
    if len(raw) > _LONGEST:
        raise BadSpec(f"The link is too long ({len(raw)} characters; {_LONGEST} at most).")
    checked_characters(raw)
    return raw.rstrip("/")


def checked_characters(text: str) -> None:
    """Raise `BadSpec` for halves of characters (surrogates): JSON can hold them, and nothing that the text is given to."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadSpec("The link has characters that are not Unicode.")


def unquoted(text: str) -> str:
    """`text` with its percent escapes resolved once; raises `BadSpec` unless they are UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise BadSpec("The link has percent escapes that are not UTF-8.") from error


def commit_id(ref: str) -> str | None:
    """The full commit id that a ref is, in lower case; None for any other ref."""
    return ref.lower() if _COMMIT.fullmatch(ref) else None


def looks_abbreviated(ref: str) -> bool:
    """Whether a ref may be an abbreviated commit id, which only a forge's API can complete."""
    return _SHORT_COMMIT.fullmatch(ref) is not None


def checked_ref(ref: str) -> str:
    """A branch, tag or commit by the rules of git-check-ref-format(1); raises `BadSpec` that says which is broken."""
    why = None
    if not ref:
        why = "it is empty"
    elif ref.startswith("-"):
        why = 'it begins with "-"'
    elif len(ref.encode(errors="replace")) > 255:
        why = "it is longer than 255 bytes"
    elif any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in ref):
        why = "it has a control character"
    elif bad := next((c for c in ref if c in " ~^:?*[\\"), None):
        why = f'it has {"a space" if bad == " " else chr(34) + bad + chr(34)}'
    elif bad := next((pair for pair in ("..", "@{", "//") if pair in ref), None):
        why = f'it has "{bad}"'
    elif ref == "@":
        why = 'write "HEAD" for the default branch'
    elif ref.startswith("/") or ref.endswith(("/", ".")):
        why = f'it {"begins" if ref.startswith("/") else "ends"} with "{ref[0] if ref.startswith("/") else ref[-1]}"'
    elif any(part.startswith(".") or part.endswith(".lock") for part in ref.split("/")):
        why = 'a part of it begins with "." or ends with ".lock"'
    if why is not None:
        raise BadSpec(f"{printable(ref, 80)} cannot be the name of a branch, tag or commit: {why}.")
    return ref


def not_resolved(prefix: str, raw: str, detail: str = "") -> str:
    """BinderHub's sentence about a ref that is not there, and what we know beyond it."""
    sentence = f"Could not resolve ref for {prefix}:{raw}. Double check your URL and that your repo is public."
    return f"{sentence} {detail}" if detail else sentence


def malformed(form: str, raw: str, *, hint: bool = False) -> BadSpec:
    """BinderHub's sentence about a spec of the wrong form; with `hint` the one that a missing ref was forgotten."""
    sentence = f'Spec is not of the form "{form}"'
    if "@" in unquote(raw):  # It may hold credentials.
        return BadSpec(f"{sentence}.")
    shown = printable(raw, _LONGEST)
    return BadSpec(f"{sentence}, provided: {shown}." + (f' Did you mean "{shown[1:-1]}/HEAD"?' if hint else ""))


@dataclass(frozen=True, slots=True)
class GitUrl:
    """The address of a git repository, checked but for where its host leads."""

    text: str  # as git is given it; has no password, and a user name only for ssh
    protocol: str  # one of PROTOCOLS
    user: str
    host: str  # lower case, ASCII; IPv6 without brackets
    port: int
    path: str  # begins with /

    def at(self, host: str) -> str:
        """The address to hand to git, with the host in the form that was checked, or with an address in its place."""
        user = f"{self.user}@" if self.user else ""
        port = "" if self.port == _PORTS[self.protocol] else f":{self.port}"
        return f"{self.protocol}://{user}{f'[{host}]' if ':' in host else host}{port}{self.path}"


def git_url(text: str) -> GitUrl:
    """Read the address of a git repository: `https://…`, `http://…`, `git://…`, `ssh://user@…` or `user@host:path`.

    Raises `BadSpec` or `ForbiddenAddress`; no sentence repeats an address that may hold credentials.
    """
    if scp := _SCP.fullmatch(text):
        text = f"ssh://{scp[1]}/{scp[2]}"
    scheme = _SCHEME.match(text)
    protocol = scheme[0].lower() if scheme else ""
    if protocol not in PROTOCOLS:
        if "@" in text:
            raise ForbiddenAddress(f"Unsupported git url, protocol {protocol} not in {', '.join(PROTOCOLS)}")
        shown = printable(re.split(r"[?#]", text, maxsplit=1)[0])[1:-1]
        raise ForbiddenAddress(f"Unsupported git url {shown}, protocol {protocol} not in {', '.join(PROTOCOLS)}")
    if not text[len(protocol) :].startswith("://"):
        raise BadSpec("The address of the git repository is not complete; write it encoded, as https%3A%2F%2Fhost%2Fpath.")
    if " " in text or _CONTROL.search(text) or _CONTROL.search(unquote(text)):
        raise BadSpec("The address of the git repository has a space, a backslash or a control character.")
    return _split(protocol, text)


def _split(protocol: str, text: str) -> GitUrl:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadSpec("The address of the git repository cannot be read; check its host and port.") from error
    if "@" in parts.netloc and (protocol != "ssh" or parts.password is not None):
        raise BadSpec(_CREDENTIALS)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise BadSpec("The address of the git repository goes on after its path (? or #); remove that part.")
    if not parts.hostname:
        raise BadSpec("The address of the git repository has no host.")
    user = parts.username or ""
    if user and not _USER.fullmatch(user):
        raise BadSpec("The user name in the address of the git repository is not a plain word.")
    if len(parts.path) < 2:
        raise BadSpec("The address of the git repository has no path after its host.")
    host = normal_host(parts.hostname)
    rest = text[len(protocol) :]
    return GitUrl(f"{protocol}{rest}", protocol, user, host, port or _PORTS[protocol], parts.path)
