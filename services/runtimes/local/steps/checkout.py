"""One repository at its pinned commit, in a directory.

Exactly the commit is fetched, by its id and without history; where a server refuses that, its branch, deep enough, and the id
is checked. Only http, https and git are spoken, for submodules too, and all of it goes through the egress proxy, which decides
about addresses. No configuration but our own is read and no hook runs, so nothing of the repository is executed here.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .patience import Patience
from .said import Failure, say

FILES = 1_000_000
CONFIG = (
    "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never", "-c", "protocol.http.allow=always",
    "-c", "protocol.https.allow=always", "-c", "protocol.git.allow=always", "-c", "advice.detachedHead=false",
    "-c", "credential.helper=", "-c", "gc.auto=0", "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=120",
    "-c", "fetch.fsckObjects=false", "-c", "core.quotePath=true", "-c", "maintenance.auto=false",
)  # fmt: skip
_REFUSED_ID = re.compile(
    r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref|dumb http transport|"
    r"remote error: (?:upload-pack: )?not our|does not support shallow|rejected because shallow",
    re.IGNORECASE,
)


@dataclass
class Bounds:
    """What all fetches of one step share: bytes below a directory, and the time until they have to be over."""

    directory: Path
    bytes: int
    seconds: float
    logins: Mapping[str, Any]  # `options` of git and `environment`, as `services.egress.logins` makes them
    patience: float = 0.0  # seconds that a server which is away is waited for
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.seconds


class Away(Failure):
    """A server does not answer, or fails."""


class Checkout:
    """One fetch, within its limits of size and time."""

    def __init__(self, bounds: Bounds, home: Path, source: Mapping[str, str]) -> None:
        self.bounds, self.home = bounds, home
        self.url, self.commit, self.ref = source["repo_url"], source["commit"], source["ref"]
        self.bytes, self.seconds = bounds.bytes, bounds.seconds
        self.words = ["git", *CONFIG, *bounds.logins.get("options", ())]
        self.environment = environment() | bounds.logins.get("environment", {})
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.commit):
            raise Failure(f"{self.commit[:80]!r} is not the id of a commit.")
        if urlsplit(self.url).scheme not in ("http", "https", "git"):
            raise Failure("Only http, https and git addresses can be fetched.")

    def run(self) -> str:
        """Fetch, check out, submodules, large files; the id of the tree."""
        shown = urlsplit(self.url)._replace(query="", fragment="").geturl()
        say("fetching", f"Fetching {shown} at {self.commit}")
        kind = ("--object-format=sha256",) if len(self.commit) == 64 else ()
        self.git("init", "-q", *kind, ".")
        self.git("remote", "add", "origin", self.url)
        self.reach(self.fetch)
        self.measure()
        self.git("checkout", "-q", "--detach", self.commit)
        self.reach(self.submodules)
        self.reach(self.large_files)
        tree, told = self.git("log", "-1", "--format=%T%n%h %s", "HEAD").split("\n", 1)
        say("fetching", f"HEAD is now at {told.strip()[:300]}")
        return tree

    def reach(self, bring: Callable[[], None]) -> None:
        """Do what needs a server, again and again while it is away."""
        patience = Patience(self.bounds.patience)
        while True:
            try:
                return bring()
            except Away as away:
                if not patience.lasts():
                    raise
                say("fetching", f"{away.reason} Trying again.")
            patience.wait()

    def fetch(self) -> None:
        """Bring the commit into the repository."""
        try:
            self.git("fetch", "-q", "--no-tags", "--depth=1", "origin", self.commit)
            return
        except Refused as refused:
            if not _REFUSED_ID.search(refused.said):
                raise self.failure(refused.said) from refused
        ref = self.ref if self.ref and not self.ref.startswith("-") else "HEAD"
        say("fetching", f"The server does not give out single commits; fetching {ref} with its history.")
        for depth in (("--depth=100",), ("--depth=2147483647",), ()):
            try:
                self.git("fetch", "-q", "--no-tags", *depth, "origin", "--", ref)
            except Refused as refused:
                if depth and _REFUSED_ID.search(refused.said) and "remote ref" not in refused.said:
                    continue
                raise self.failure(refused.said) from refused
            with suppress(Refused):
                self.git("cat-file", "-e", f"{self.commit}^{{commit}}")
                return
        raise Failure(
            f"The repository has no commit {self.commit[:12]} on {ref} any more.",
            "It may have been removed by a forced push: use a link to a branch, or to a commit that exists.",
        )

    def measure(self) -> None:
        """Refuse what would be too big when checked out, before it is."""
        total = 0
        for count, line in enumerate(self.lines("ls-tree", "-r", "-l", "-z", self.commit)):
            size = line.split("\t", 1)[0].split()[-1]
            total += int(size) if size.isdigit() else 0
            if total > self.bytes:
                raise self.too_big()
            if count > FILES:
                raise Failure(f"The repository has more than {FILES:,} files, which is more than can be served here.")

    def submodules(self) -> None:
        """Fetch submodules, each without history where its server lets us."""
        if not os.path.isfile(self.home / ".gitmodules") or os.path.islink(self.home / ".gitmodules"):
            return
        say("fetching", "Fetching submodules")
        try:
            self.git("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1", "--jobs=4")
        except Refused:
            try:
                self.git("submodule", "--quiet", "update", "--init", "--recursive", "--jobs=4")
            except Refused as refused:
                named = re.search(r"submodule path '([^']{1,400})'", refused.said)
                which = f"The submodule {named[1].removeprefix(str(self.home)).lstrip('/')}" if named else "A submodule"
                address = re.search(r"clone of '([^']+)'", refused.said)
                failure = self.failure(refused.said, address[1] if address else "")
                reason = f"{which} could not be fetched: {failure.reason}"
                raise type(failure)(reason, failure.hint, retryable=failure.retryable) from refused

    def large_files(self) -> None:
        """Replace pointers of Git LFS by the files, where git-lfs is installed."""
        attributes = self.home / ".gitattributes"
        if os.path.islink(attributes) or not os.path.isfile(attributes):
            return
        with open(attributes, errors="replace") as file:
            if "filter=lfs" not in file.read(1 << 20):
                return
        if shutil.which("git-lfs") is None:
            say("fetching", "The repository keeps files in Git LFS, which is not installed here: they stay pointers.")
            return
        say("fetching", "Fetching files from Git LFS")
        try:
            self.git("lfs", "install", "--local", "--skip-repo")
            self.git("lfs", "pull")
        except Refused as refused:
            address = re.search(r"https?://[^\s'\"]+", refused.said)
            closed = refused_by_egress(address[0]) if address else ""
            if closed:
                raise Failure(f"Files could not be fetched from Git LFS: {closed}") from refused
            raise Away("Files could not be fetched from Git LFS.", _last(refused.said), retryable=True) from refused

    def git(self, *arguments: str) -> str:
        """Run git within the limits; what it prints. Raises `Refused` with what it says, or `Failure`."""
        process = subprocess.Popen(
            [*self.words, *arguments], cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        wait = 0.05
        while True:
            try:
                out, said = process.communicate(timeout=wait)
                break
            except subprocess.TimeoutExpired:
                wait = 0.25
            began = time.monotonic()
            late = began > self.bounds.until
            big = size(str(self.bounds.directory), self.bytes) > self.bytes
            wait = max(wait, 10 * (time.monotonic() - began))  # a walk may take long in a big tree
            if late or big:
                os.killpg(process.pid, signal.SIGKILL)  # its transport runs in a process of its own
                process.communicate()
                if not late:
                    raise self.too_big()
                raise Failure(f"Fetching the repository took more than {self.seconds:g} seconds and was given up.", retryable=True)
        if process.returncode:
            raise Refused(said)
        return out

    def lines(self, *arguments: str) -> Iterator[str]:
        """The NUL-separated output of git, without holding all of it."""
        with subprocess.Popen([*self.words, *arguments], cwd=self.home, env=self.environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            rest = b""
            while data := process.stdout.read(1 << 16):
                *lines, rest = (rest + data).split(b"\0")
                yield from (line.decode(errors="replace") for line in lines)

    def too_big(self) -> Failure:
        """The failure of a repository over the limit."""
        limit = f"{self.bytes / (1 << 20):,.0f} MiB"
        return Failure(
            f"The repository is bigger than {limit}, the most that is fetched here.",
            "Keep big data elsewhere and download it in the notebook, or ask the operator to raise local.repository_bytes.",
        )

    def failure(self, said: str, url: str = "") -> Failure:
        """What went wrong with the repository (or with the submodule at `url`), from what git says."""
        url = url or self.url
        host, low = urlsplit(url).hostname or "", said.lower()
        if "not allowed" in low and "transport" in low:
            return Failure("It uses a protocol that is not allowed; http, https and git are.")
        if re.search(r"\b470\b|proxy", low):
            refusal = refused_by_egress(url) or f"{host} redirects to an address that may not be fetched."
            return Failure(refusal, "Links may only lead to places that this service may connect to.")
        if re.search(r"couldn't find remote ref|not our ref|no such (remote )?ref", low):
            return Failure(f"The repository has no commit {self.commit[:12]} and no {self.ref or 'HEAD'}.")
        if re.search(r"authentication failed|could not read username|\b401\b|\b403\b|access denied|permission denied", low):
            return Failure(f"{host} refuses access to the repository.", "It is private, or the link is wrong.")
        if re.search(r"not found|\b404\b|does not exist|not exported|not appear to be a git repository", low):
            return Failure(f"There is no repository at this address on {host}.", "Check the link; it may also be private.")
        return Away(f"{host} cannot be reached ({_last(said)}).", "Try again later.", retryable=True)


def refused_by_egress(url: str) -> str:
    """Ask the egress proxy for the sentence with which it refuses the host of an address; "" if it does not."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "git": 9418}.get(parts.scheme, 80)
    with suppress(OSError), socket.socket(socket.AF_UNIX) as proxy:
        proxy.settimeout(5)
        proxy.connect("/run/egress/sock")
        proxy.sendall(f"CONNECT {parts.hostname}:{port} HTTP/1.1\r\n\r\n".encode())
        answer = b""
        while len(answer) < 4096 and not answer.startswith(b"HTTP/1.1 200") and (data := proxy.recv(4096)):
            answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 470 " in head.split(b"\r\n", 1)[0]:
            return body.decode(errors="replace").strip()
    return ""


class Refused(Exception):
    """Git has failed; `said` is what it wrote to standard error."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


def environment() -> dict[str, str]:
    """The environment of git: nothing of the user, nothing of the system, and no question."""
    return {
        name: value for name, value in os.environ.items() if name not in ("NO_PROXY", "no_proxy", "HOME")
    } | {
        "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https:git", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_ASKPASS": "/bin/false", "LC_ALL": "C",
    }


def size(directory: str, enough: int) -> int:
    """Bytes below a directory; stops counting past `enough`."""
    total, stack = 0, [directory]
    while stack and total <= enough:
        with suppress(OSError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def _last(said: str) -> str:
    """The line of git's complaint that says most, without what could be long or secret."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    fatal = [line for line in lines if line.lower().startswith(("fatal:", "error:"))] or lines
    text = fatal[-1] if fatal else "no answer"
    return re.sub(r"(?i)^(fatal|error):\s*", "", text)[:300]
