"""Requirements as pip reads them, scanned line by line before anything is installed.

The result is flat: included files are drawn in, comments are gone, paths are absolute in the sandbox, and every line knows
where it came from, so that an error can name file and line. A line that would read what is outside of the repository is
refused; one that reads the repository itself marks the environment as made of its content. Paths follow pip: an included
file is relative to the file that includes it, everything else to the root of the repository.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .said import HOME, Failure

MOST_LINES, MOST_FILES = 20_000, 100
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz", ".tar.xz")
_VALUED = {
    "-i": "--index-url", "--index-url": "--index-url", "--pypi-url": "--index-url", "--extra-index-url": "--extra-index-url",
    "-f": "--find-links", "--find-links": "--find-links", "--no-binary": "--no-binary", "--only-binary": "--only-binary",
    "--trusted-host": "--trusted-host",
}  # fmt: skip
_NAME = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)$")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement or option, ready for uv, and where it stands."""

    text: str
    file: str
    line: int
    name: str = ""  # normalized name of the package, where the line has one


@dataclass
class Scan:
    """Everything that a set of requirement files asks for."""

    requirements: list[Line] = field(default_factory=list)
    constraints: list[Line] = field(default_factory=list)
    options: list[Line] = field(default_factory=list)  # "--index-url https://…"
    flags: list[str] = field(default_factory=list)  # for uv's command line
    notices: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)  # why the content belongs to the environment: clauses
    builds: bool = False  # something will have to be built, whatever the index has: a version control address
    files: int = 0

    @property
    def pinned(self) -> bool:
        """Whether every requirement names exactly one version."""
        return all(re.search(r"(^|[^=])===?\s*[^*,;\s]+(\s*($|;|--hash))", line.text) for line in self.requirements)


def normalize(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def scan_file(tree: Path, path: str, scan: Scan, *, constraint: bool = False) -> None:
    """Scan a file of the repository at `tree` into `scan`; raises `Failure`."""
    scan.files += 1
    if scan.files > MOST_FILES:
        raise Failure(f"{path}: requirement files include each other without end.")
    raw = (tree / path).read_bytes()[: 4 << 20]
    text = raw.decode("utf-8-sig", errors="replace") if not raw.startswith((b"\xff\xfe", b"\xfe\xff")) else raw.decode("utf-16")
    for number, content in _logical(text):
        scan_line(tree, content, path, number, scan, constraint=constraint)
        if len(scan.requirements) + len(scan.constraints) > MOST_LINES:
            raise Failure(f"{path} asks for more than {MOST_LINES:,} packages.")


def scan_line(tree: Path, text: str, file: str, number: int, scan: Scan, *, constraint: bool = False) -> None:
    """Scan one line; `file` and `number` say where it stands. Raises `Failure`."""
    where = f"{file}, line {number}" if number else file
    if _VARIABLE.search(text):
        raise Failure(f"{where} uses a variable of the environment ({_VARIABLE.findall(text)[0]}), and none is set here.")
    if not text.startswith("-"):
        target = scan.constraints if constraint else scan.requirements
        target.append(_requirement(tree, text, where, file, number, scan))
        return
    option, value = _option(text)
    if option in ("-r", "--requirement", "-c", "--constraint"):
        if re.match(r"(?i)(https?|ftp)://", value):
            raise Failure(f"{where} includes a file from elsewhere ({value[:80]}).", "Keep requirement files in the repository.")
        included = _path(tree, os.path.join(os.path.dirname(file), value), where)
        if not (tree / included).is_file():
            raise Failure(f"{where} includes {value[:200]}, which does not exist.")
        scan_file(tree, included, scan, constraint=constraint or option in ("-c", "--constraint"))
    elif option in ("-e", "--editable"):
        line = _requirement(tree, value, where, file, number, scan)
        scan.builds = True
        scan.requirements.append(Line(f"-e {line.text}", file, number, line.name))
    elif option in _VALUED:
        known = _VALUED[option]
        if known == "--trusted-host":
            scan.flags += ["--allow-insecure-host", value]
        else:
            scan.options.append(Line(f"{known} {_place(tree, value, where, scan) if 'binary' not in known else value}", file, number))
    elif option == "--no-index":
        scan.options.append(Line("--no-index", file, number))
    elif option == "--pre":
        scan.flags += ["--prerelease", "allow"]
    else:
        scan.notices.append(f"{where}: {option} is left out; it means nothing here.")


def _requirement(tree: Path, text: str, where: str, file: str, number: int, scan: Scan) -> Line:
    """A requirement with its paths made absolute."""
    text = re.sub(r"\s+--(config-settings?|global-option|install-option|build-option)[= ]\S+", "", text)
    match = _NAME.match(text)
    if match and match[3].startswith("@"):
        url, rest = _split(match[3][1:].strip())
        return Line(f"{match[1]}{match[2] or ''} @ {_place(tree, url, where, scan)}{rest}", file, number, normalize(match[1]))
    first, rest = _split(text)
    looks_local = first.startswith((".", "/", "file:")) or "/" in first.split("[")[0] or first.lower().endswith(_ARCHIVES)
    if "://" in first or looks_local:
        egg = re.search(r"#egg=([A-Za-z0-9._-]+)", first)
        return Line(f"{_place(tree, first, where, scan)}{rest}", file, number, normalize(egg[1]) if egg else "")
    if match is None or not re.match(r"^($|[<>;,(]|[=!~]=|--hash)", match[3]):
        raise Failure(f"{where} is no requirement that pip would understand: {text[:120]!r}.")
    return Line(text, file, number, normalize(match[1]))


def _place(tree: Path, value: str, where: str, scan: Scan) -> str:
    """An address as it is, or a path of the repository as an absolute one; notes what it means for the environment."""
    if re.match(r"(?i)(git|hg|svn|bzr)\+", value):
        if not re.match(r"(?i)git\+(https?|git)://", value):
            raise Failure(f"{where}: only git+https, git+http and git+git are fetched.", "Use an address that needs no account.")
        scan.builds = True
        return value
    scheme = urlsplit(value).scheme.lower() if "://" in value or value.startswith("file:") else ""
    if scheme in ("http", "https"):
        if urlsplit(value).password is not None or urlsplit(value).username is not None:
            raise Failure(f"{where}: an address with a user or password is not used.", "Anybody could read it in the repository.")
        return value
    if scheme not in ("", "file"):
        raise Failure(f"{where}: {scheme} addresses are not fetched.")
    path = unquote(urlsplit(value).path) if scheme else value
    path, bracket, extras = path.partition("[")
    inside = _path(tree, path, where)
    scan.builds = True
    scan.reads.append(f"{where} reads {inside or 'the repository itself'}")
    return f"{HOME}/{inside}".rstrip("/") + bracket + extras


def _path(tree: Path, path: str, where: str) -> str:
    """A path from the root of the repository, its symbolic links followed; raises `Failure` if it leads out of it."""
    relative = os.path.relpath(path, HOME) if os.path.isabs(path) else path
    root = os.path.realpath(tree)
    real = os.path.realpath(os.path.join(root, relative))
    if real != root and not real.startswith(root + "/"):
        raise Failure(f"{where} leads out of the repository ({path[:120]}).", "Requirements may only name files of the repository.")
    return "" if real == root else os.path.relpath(real, root)


def _option(text: str) -> tuple[str, str]:
    option, _, value = text.partition(" ")
    if "=" in option:
        option, _, first = option.partition("=")
        value = f"{first} {value}".strip()
    elif not option.startswith("--") and len(option) > 2:
        option, value = option[:2], f"{option[2:]} {value}".strip()
    return option, value.strip().strip("'\"")


def _split(text: str) -> tuple[str, str]:
    """An address or path, and what follows it: a marker, hashes."""
    match = re.match(r"^(\S+?)(\s*;.*|\s+--hash.*|)$", text.strip()) or re.match(r"^(\S+)(.*)$", text.strip())
    assert match is not None
    return match[1], match[2] and f" {match[2].strip()}"


def _logical(text: str) -> list[tuple[int, str]]:
    """Lines with continuations joined and comments removed, each with the number of its first line."""
    found: list[tuple[int, str]] = []
    pending, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        bare = line if not pending else line.lstrip()
        if bare.endswith("\\") and not bare.lstrip().startswith("#"):
            pending += bare[:-1] + " "
            continue
        content = re.sub(r"(^|\s+)#.*$", "", pending + bare).strip()
        if content:
            found.append((first, re.sub(r"\s+", " ", content)))
        pending, first = "", 0
    if pending.strip():
        found.append((first, pending.strip()))
    return found
