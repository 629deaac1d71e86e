"""Pipfile and Pipfile.lock as requirements: what `pipenv install --system --dev` would install.

With a lock file its exact versions are taken (repo2docker's --ignore-pipfile), without one the Pipfile's ranges (--skip-lock).
Paths are relative to the Pipfile, as pipenv has them.
"""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from .requirements import Scan, scan_line
from .said import Failure


def scan_pipfile(tree: Path, directory: str, scan: Scan) -> None:
    """Scan the Pipfile of a directory ("" for the root), the lock file if there is one. Raises `Failure`."""
    lock, pipfile = (os.path.join(directory, name) for name in ("Pipfile.lock", "Pipfile"))
    if (tree / lock).is_file():
        path, data, sections = lock, _load(tree / lock, json.loads), ("default", "develop")
        sources = _table(data, "_meta").get("sources", [])
    else:
        path, data, sections = pipfile, _load(tree / pipfile, tomllib.loads), ("packages", "dev-packages")
        sources = data.get("source", [])
    scan.files += 1
    _sources(tree, path, sources, scan)
    for section in sections:
        for name, wanted in _table(data, section).items():
            scan_line(tree, _line(name, wanted, directory, path), path, 0, scan)


def _load(path: Path, loads: Any) -> dict[str, Any]:
    try:
        value = loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(f"{path.name} cannot be read: {str(error)[:200]}.") from error
    if not isinstance(value, dict):
        raise Failure(f"{path.name} cannot be read: it is not a table.")
    return value


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key, {})
    return value if isinstance(value, dict) else {}


def _sources(tree: Path, path: str, sources: Any, scan: Scan) -> None:
    tables = [source for source in sources if isinstance(source, dict)] if isinstance(sources, list) else []
    urls = [str(source["url"]) for source in tables if source.get("url")]
    if urls and [url.rstrip("/") for url in urls] != ["https://pypi.org/simple"]:
        for option, url in zip(["--index-url"] + ["--extra-index-url"] * len(urls), urls, strict=False):
            scan_line(tree, f"{option} {url}", path, 0, scan)


def _line(name: str, wanted: Any, directory: str, file: str) -> str:
    """One entry as a line of a requirements file."""
    if isinstance(wanted, str):
        return name if wanted == "*" else f"{name}{wanted}"
    if not isinstance(wanted, dict):
        raise Failure(f"{file}: the entry of {name} cannot be read.")
    extras = wanted.get("extras")
    extra = f"[{','.join(map(str, extras))}]" if isinstance(extras, list) and extras else ""
    markers = [str(wanted[key]) for key in ("markers", "marker") if wanted.get(key)]
    markers += [f"{key} {wanted[key]}" for key in ("sys_platform", "python_version", "platform_machine", "os_name") if wanted.get(key)]
    marker = f" ; {' and '.join(f'({one})' for one in markers)}" if markers else ""
    if wanted.get("git"):
        url = str(wanted["git"])
        url = url if url.startswith("git+") else f"git+{url}"
        ref = f"@{wanted['ref']}" if wanted.get("ref") else ""
        part = f"#subdirectory={wanted['subdirectory']}" if wanted.get("subdirectory") else ""
        return f"{name}{extra} @ {url}{ref}{part}{marker}"
    place = wanted.get("path") or wanted.get("file") or wanted.get("uri")
    if place:
        place = str(place)
        if "://" not in place:
            place = "./" + os.path.normpath(os.path.join(directory, place))
        if wanted.get("editable"):
            return f"-e {place}{extra}{marker}"
        return f"{place}{extra}{marker}" if "://" not in place else f"{name}{extra} @ {place}{marker}"
    version = str(wanted.get("version") or "")
    return f"{name}{extra}{'' if version == '*' else version}{marker}"
