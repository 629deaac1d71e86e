"""The files of a published record (Zenodo, Dataverse and the like), in a directory: downloaded, checked, unpacked.

The worker has asked the archive what there is; here it is only fetched. A record may be anything anybody has uploaded: paths
stay below the directory, archives are read as if made to hurt (no absolute path, no way through a link, no device, a bound
on what comes out of them), sizes and checksums are those that the archive has told. Shared by all runtimes
(`services/runtimes/local/steps` has a link to this file), so it stands on the standard library.
"""

import hashlib
import http.client
import json
import os
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from .patience import Patience

FILES = 100_000  # that may come out of archives
_BLOCK = 1 << 16
_SILENCE = 60  # seconds without a byte
_AGAIN = 5.0  # seconds between questions for something that is being made
_SHOWN = 50  # files that have a line of the log each
_ARCHIVE = ".archive"
_ASIDE = "__MACOSX/"  # what macOS puts into archives beside the files


class Unavailable(Exception):
    """The record cannot be had; the text is for the user."""

    def __init__(self, reason: str, *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.retryable = retryable


class Gathering:
    """The download of one record below a directory, within `most` bytes and until `until` on the monotonic clock.

    An archive that is away is waited for `patience` seconds.
    """

    def __init__(self, into: Path, most: int, until: float, say: Callable[[str], None], patience: float) -> None:
        self.into, self.most, self.until, self.say, self.patience = into, most, until, say, patience
        self.bytes = self.count = 0
        # Proxies are those of the environment; of all protocols only these two are spoken, behind redirects as well.
        self.opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler, urllib.request.HTTPRedirectHandler,
            urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler,
        ):
            self.opener.add_handler(handler())
        self.opener.addheaders = [("User-Agent", "Dockyard")]

    def all(self, files: Sequence[Mapping[str, Any]]) -> str:
        """Download everything; an id of what there is, the same for the same content. Raises `Unavailable`."""
        known = sum(max(0, file["size"]) for file in files)
        if known > self.most:
            raise self.too_big()
        found = []
        for number, file in enumerate(files):
            if number < _SHOWN:
                self.say(f"Downloading {file['path']}" + (f" ({file['size']:,} bytes)" if file["size"] >= 0 else ""))
            elif number == _SHOWN:
                self.say(f"Downloading {len(files) - number} files more")
            found.append([file["path"], self.one(file)])
        return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()

    def one(self, file: Mapping[str, Any]) -> str:
        """Download one file, and take it apart where it is an archive to be unpacked; its digest."""
        path = self.into / f"{_ARCHIVE}.{os.urandom(8).hex()}" if file["unpack"] else self.place(file["path"])
        digest = self.download(file, path)
        if file["unpack"]:
            try:
                self.unpack(path, file)
            finally:
                self.bytes -= path.stat().st_size
                path.unlink()
        return digest

    def place(self, name: str) -> Path:
        """Where a file of this name goes, its directories made; refuses names that lead out."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        bad = {"..", ".git"} & set(parts) or name.startswith("/") or "\0" in name or any(len(part.encode()) > 255 for part in parts)
        if bad or not parts:
            raise Unavailable(f"The record has a file with a name that cannot be used: {name[:200]!r}.")
        self.count += 1
        if self.count > FILES:
            raise Unavailable(f"The record has more than {FILES:,} files, which is more than can be served here.")
        place = self.into
        for part in parts[:-1]:
            place = place / part
            if not os.path.lexists(place):
                place.mkdir()
            elif not stat.S_ISDIR(os.lstat(place).st_mode):
                raise Unavailable(f"The record has a file inside of another file: {name[:200]!r}.")
        place = place / parts[-1]
        if os.path.lexists(place):
            if stat.S_ISDIR(os.lstat(place).st_mode):
                raise Unavailable(f"The record has a file and a directory of the same name: {name[:200]!r}.")
            place.unlink()
        return place

    def download(self, file: Mapping[str, Any], path: Path) -> str:
        """Bring one file, with another try where the connection breaks; its digest."""
        patience = Patience(self.patience)
        while True:
            before = self.bytes
            try:
                return self.transfer(file, path)
            except (OSError, http.client.HTTPException) as error:
                self.bytes = before
                host = file["url"].split("/")[2].rpartition("@")[2]
                if isinstance(error, urllib.error.HTTPError):
                    with error:
                        if error.code == 470:  # the egress proxy's own
                            raise Unavailable(error.read(500).decode(errors="replace").strip()) from error
                    if error.code < 500 and error.code not in (408, 429):
                        raise Unavailable(f"{host} refuses {file['path']} (status {error.code}).") from error
                if not patience.lasts() or time.monotonic() > self.until:
                    raise Unavailable(f"{host} does not give out {file['path']} ({_words(error)}).", retryable=True) from error
            patience.wait()

    def transfer(self, file: Mapping[str, Any], path: Path) -> str:
        """One try."""
        content, checks = hashlib.sha256(), []
        algorithm, _, expected = file["checksum"].partition(":")
        if expected and algorithm in hashlib.algorithms_available:
            checks.append(hashlib.new(algorithm, usedforsecurity=False))
        size = 0
        with self.ask(file) as answer, path.open("wb") as out:
            while data := answer.read(_BLOCK):
                size += len(data)
                self.took(len(data))
                out.write(data)
                content.update(data)
                for check in checks:
                    check.update(data)
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
        if file["size"] >= 0 and size != file["size"]:
            raise Unavailable(f"{file['path']} has {size:,} bytes instead of the {file['size']:,} that the record tells.", retryable=True)
        if any(check.hexdigest() != expected.lower() for check in checks):
            raise Unavailable(f"{file['path']} is not what the record tells: its checksum is another.", retryable=True)
        return content.hexdigest()

    def ask(self, file: Mapping[str, Any]) -> http.client.HTTPResponse:
        """The answer to a request for a file; for one that is made on demand, once it has been made."""
        while True:
            answer: http.client.HTTPResponse = self.opener.open(file["url"], timeout=_SILENCE)
            if not file["made"] or answer.headers.get_content_type() not in ("application/json", "text/html"):
                return answer
            answer.close()
            if time.monotonic() > self.until:
                raise Unavailable("The archive has not made its package of the record in time.", retryable=True)
            time.sleep(_AGAIN)

    def took(self, size: int) -> None:
        """Count bytes against the limits."""
        self.bytes += size
        if self.bytes > self.most:
            raise self.too_big()
        if time.monotonic() > self.until:
            raise Unavailable("Downloading the record took too long and was given up.", retryable=True)

    def too_big(self) -> Unavailable:
        """The failure of a record over the limit."""
        return Unavailable(f"The record is bigger than {self.most / (1 << 20):,.0f} MiB, the most that is fetched here.")

    # -- archives --------------------------------------------------------------------------------------------------------

    def unpack(self, path: Path, file: Mapping[str, Any]) -> None:
        """Put the content of an archive where the record's files go."""
        try:
            if file["unpack"] == "zip":
                with zipfile.ZipFile(path) as archive:
                    self.zipped(archive, file["inside"])
            else:
                with tarfile.open(path) as archive:
                    self.tarred(archive, file["inside"])
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise Unavailable(f"{file['path']} cannot be unpacked ({_words(error)}).") from error

    def zipped(self, archive: zipfile.ZipFile, inside: str) -> None:
        """Unpack a zip archive."""
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        strip = _stripped([entry.filename for entry in entries], inside)
        for entry in entries:
            mode = entry.external_attr >> 16
            if (name := strip(entry.filename)) and (stat.S_ISREG(mode) or not stat.S_IFMT(mode)):
                with archive.open(entry) as source:
                    self.write(source, name, executable=bool(mode & 0o100))

    def tarred(self, archive: tarfile.TarFile, inside: str) -> None:
        """Unpack a tar archive; of links the symbolic ones that stay inside."""
        strip = _stripped([entry.name for entry in archive if not entry.isdir()], inside)
        for entry in archive:
            if entry.isdir() or not (name := strip(entry.name)):
                continue
            if entry.issym() and _stays(name, entry.linkname):
                os.symlink(entry.linkname, self.place(name))
            elif entry.isreg() and (source := archive.extractfile(entry)) is not None:
                with source:
                    self.write(source, name, executable=bool(entry.mode & 0o100))

    def write(self, source: IO[bytes], name: str, *, executable: bool) -> None:
        """One file of an archive."""
        place = self.place(name)
        with place.open("wb") as out:
            while data := source.read(_BLOCK):
                self.took(len(data))
                out.write(data)
        place.chmod(0o755 if executable else 0o644)


def _stripped(names: list[str], inside: str) -> Callable[[str], str]:
    """How names in an archive become names in the tree; "" for what is left out. See `services.records.File.inside`."""
    if inside == "*":
        shown = [name.removeprefix("./") for name in names if not name.startswith(_ASIDE)]
        tops = {name.partition("/")[0] for name in shown}
        inside = tops.pop() if len(tops) == 1 and all("/" in name for name in shown) else ""
    prefix = f"{inside}/" if inside else ""

    def strip(name: str) -> str:
        name = name.removeprefix("./")
        return name.removeprefix(prefix) if name.startswith(prefix) and not name.startswith(_ASIDE) else ""

    return strip


def _stays(name: str, target: str) -> bool:
    """Whether a symbolic link at `name` leads to somewhere inside of the tree."""
    found = os.path.normpath(os.path.join(os.path.dirname(name), target))
    return not target.startswith("/") and found != ".." and not found.startswith("../")


def _words(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error or type(error).__name__)[:200]
