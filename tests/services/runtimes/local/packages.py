"""A small package index of our own, as a directory, so that real installations need no network."""

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

BACKEND = '''
import os, zipfile, hashlib, base64
{hook}
def get_requires_for_build_wheel(config_settings=None): return []
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as file:
        info = "{name}-{version}.dist-info"
        file.writestr("{name}.py", "WHERE = 'built'\\n")
        file.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        file.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(info + "/RECORD", "")
    return name
'''
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "{name}"
version = "{version}"
"""


def package_files(name: str, version: str = "1.0", hook: str = "") -> dict[str, str]:
    """The files of a package that builds itself without any other; `hook` is code that runs when it is built."""
    return {
        "pyproject.toml": PYPROJECT.format(name=name, version=version),
        "backend.py": BACKEND.format(name=name, version=version, hook=hook),
    }


class Index:
    """A simple index (PEP 503) below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"file://{root}"
        root.mkdir(parents=True, exist_ok=True)

    def wheel(self, name: str, version: str = "1.0", *, files: Mapping[str, str] | None = None, requires: tuple[str, ...] = ()) -> None:
        """Add a pure Python wheel."""
        info = f"{name}-{version}.dist-info"
        content = dict(files or {f"{name}.py": f"VERSION = '{version}'\n"})
        content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
            f"Requires-Dist: {one}\n" for one in requires)
        content[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        record = [f"{path},{_digest(text)},{len(text)}\n" for path, text in content.items()]
        content[f"{info}/RECORD"] = "".join(record) + f"{info}/RECORD,,\n"
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as file:
            for path, text in content.items():
                file.writestr(path, text)
        self._add(name, f"{name}-{version}-py3-none-any.whl", data.getvalue())

    def source(self, name: str, version: str = "1.0", *, hook: str = "") -> None:
        """Add a source distribution that builds itself."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as file:
            pkginfo = {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
            for path, text in {**package_files(name, version, hook), **pkginfo}.items():
                member = tarfile.TarInfo(f"{name}-{version}/{path}")
                member.size = len(text.encode())
                file.addfile(member, io.BytesIO(text.encode()))
        self._add(name, f"{name}-{version}.tar.gz", data.getvalue())

    def _add(self, name: str, file: str, data: bytes) -> None:
        directory = self.root / name.replace("_", "-").lower()
        directory.mkdir(exist_ok=True)
        (directory / file).write_bytes(data)
        links = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in sorted(directory.iterdir()) if path.name != "index.html")
        (directory / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
