"""Published records: what is downloaded and unpacked, whatever is in it; then a server's content from one, through the real sandbox."""

import hashlib
import io
import json
import os
import tarfile
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from services.records import File
from services.runtimes.local.steps.records import Gathering, Unavailable
from tests.services.runtimes.local.ground import Ground

Members = dict[str, bytes | str]  # content, or the target of a symbolic link


class Quiet(SimpleHTTPRequestHandler):
    """Serves a directory; says of `slow.zip` twice that it is not made yet, and fails for `flaky.txt` so many times."""

    asked = fails = 0

    def do_GET(self) -> None:
        if self.path == "/slow.zip" and Quiet.asked < 1:
            Quiet.asked += 1
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"bag_status": "Not ready"}')
        elif self.path == "/flaky.txt" and Quiet.fails:
            Quiet.fails -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A directory and the address at which it is served."""
    root = tmp_path_factory.mktemp("archive")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def zipped(members: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (modes or {}).get(name, 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, content)
    return out.getvalue()


def tarred(members: Members) -> bytes:
    """A compressed tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                made.addfile(entry)
            else:
                entry.size = len(content)
                made.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def gathered(into: Path, files: list[File], most: int = 1 << 20, patience: float = 0) -> dict[str, str]:
    """What is there afterwards: text by name, links as `-> target`."""
    Gathering(into, most, time.monotonic() + 60, lambda _: None, patience).all([file.told() for file in files])
    found = [Path(at, name) for at, directories, names in os.walk(into) for name in (*directories, *names)]
    return {
        str(path.relative_to(into)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in found if path.is_symlink() or path.is_file()
    }


def test_files_and_directories(archive: tuple[Path, str], tmp_path: Path) -> None:
    root, url = archive
    (root / "one.txt").write_text("one")
    digest = hashlib.md5(b"one", usedforsecurity=False).hexdigest()
    files = [File("a.txt", f"{url}/one.txt", 3, f"md5:{digest}"), File("data/deep/b.txt", f"{url}/one.txt"),
             File("./c.txt", f"{url}/one.txt", checksum="unheard-of:1")]
    assert gathered(tmp_path, files) == {"a.txt": "one", "data/deep/b.txt": "one", "c.txt": "one"}


ARCHIVES: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "the only directory at the top is taken off": ("*", zipped({"r-1/a": b"1", "r-1/d/b": b"2", "__MACOSX/._a": b""}),
                                                   {"a": "1", "d/b": "2"}),
    "two at the top stay": ("*", zipped({"x/a": b"1", "y": b"2"}), {"x/a": "1", "y": "2"}),
    "a directory that begins with a dot is not mistaken": ("*", zipped({".binder/a": b"1", "binder/a": b"2"}),
                                                           {".binder/a": "1", "binder/a": "2"}),
    "one directory of it": ("id/data/contents", zipped({"id/data/contents/n": b"1", "id/bagit.txt": b"2"}), {"n": "1"}),
    "all of it": ("", zipped({"x/a": b"1"}), {"x/a": "1"}),
    "links in a zip are left out": ("", zipped({"a": b"1", "l": b"/etc/passwd"}, {"l": 0o120777}), {"a": "1"}),
    "links of a tar that stay inside": ("t", tarred({"t/a": b"1", "t/d/l": "../a", "t/out": "../../x", "t/abs": "/etc/passwd"}),
                                        {"a": "1", "d/l": "-> ../a"}),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives(archive: tuple[Path, str], tmp_path: Path, case: str) -> None:
    root, url = archive
    inside, content, expected = ARCHIVES[case]
    (root / "a.bin").write_bytes(content)
    unpack = "zip" if content.startswith(b"PK") else "tar"
    assert gathered(tmp_path, [File("a.bin", f"{url}/a.bin", unpack=unpack, inside=inside)]) == expected


def test_what_is_executable_stays_so(archive: tuple[Path, str], tmp_path: Path) -> None:
    root, url = archive
    (root / "x.zip").write_bytes(zipped({"start": b"#!/bin/sh\n", "a": b""}, {"start": 0o104755}))
    gathered(tmp_path, [File("x.zip", f"{url}/x.zip", unpack="zip")])
    assert [(tmp_path / name).stat().st_mode & 0o7777 for name in ("start", "a")] == [0o755, 0o644]


def test_a_package_that_is_made_on_demand_is_waited_for(archive: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, url = archive
    monkeypatch.setattr("services.runtimes.local.steps.records._AGAIN", 0.01)
    (root / "slow.zip").write_bytes(zipped({"a": b"1"}))
    assert gathered(tmp_path, [File("slow.zip", f"{url}/slow.zip", unpack="zip", made=True)]) == {"a": "1"}


def test_an_archive_that_is_away_is_waited_for(archive: tuple[Path, str], tmp_path: Path) -> None:
    root, url = archive
    (root / "flaky.txt").write_text("there")
    Quiet.fails = 2
    with pytest.raises(Unavailable, match="does not give out flaky") as caught:
        gathered(tmp_path, [File("flaky", f"{url}/flaky.txt")])
    assert caught.value.retryable
    assert gathered(tmp_path, [File("flaky", f"{url}/flaky.txt")], patience=60) == {"flaky": "there"}
    assert Quiet.fails == 0


BAD: dict[str, tuple[File, bytes, str]] = {
    "out": (File("../x", "f"), b"", "a name that cannot be used"),
    "absolute": (File("/etc/x", "f"), b"", "a name that cannot be used"),
    "git": (File("a/.git/config", "f"), b"", "a name that cannot be used"),
    "empty": (File("./", "f"), b"", "a name that cannot be used"),
    "size": (File("a", "f", 5), b"1", "has 1 bytes instead of the 5"),
    "checksum": (File("a", "f", 1, "md5:00"), b"1", "its checksum is another"),
    "too big, told": (File("a", "f", 2 << 20), b"1", "bigger than 1 MiB"),
    "too big, untold": (File("a", "f"), b"1" * (1 << 20 | 1), "bigger than 1 MiB"),
    "absent": (File("a", "absent"), b"", r"refuses a \(status 404\)"),
    "no archive": (File("a", "f", unpack="zip"), b"no", "cannot be unpacked"),
    "zip out": (File("a", "f", unpack="zip"), zipped({"../x": b""}), "a name that cannot be used"),
    "tar out": (File("a", "f", unpack="tar"), tarred({"../x": b""}), "a name that cannot be used"),
    "through a link": (File("a", "f", unpack="tar"), tarred({"d": ".", "d/x": b""}), "inside of another file"),
    "bomb": (File("a", "f", unpack="zip"), zipped({"x": bytes(4 << 20)}), "bigger than 1 MiB"),
    "other protocols": (File("a", "ftp://127.0.0.1/x"), b"", "does not give out"),
    "files of the machine": (File("a", "file:///etc/passwd"), b"", "does not give out"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_had_is_a_sentence(
    archive: tuple[Path, str], tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, url = archive
    monkeypatch.setattr("services.runtimes.local.steps.records._AGAIN", 0.01)
    file, content, words = BAD[case]
    (root / "f").write_bytes(content)
    into = tmp_path / "into"
    into.mkdir()
    address = file.url if "://" in file.url else f"{url}/{file.url}"
    with pytest.raises(Unavailable, match=words):
        gathered(into, [File(file.path, address, file.size, file.checksum, file.unpack, file.inside)])
    assert os.listdir(tmp_path) == ["into"]


async def test_a_record_is_built_and_changed_content_needs_no_environment(home: Ground, archive: tuple[Path, str]) -> None:
    """Its files are the content; the next version with the same requirements reuses the environment; a refused address is told."""
    root, url = archive
    (root / "requirements.txt").write_text("tinyjupyter\n")
    facts = []
    for version in ("1", "2"):
        (root / f"n{version}.ipynb").write_text(json.dumps({"version": version}))
        files = (File("requirements.txt", f"{url}/requirements.txt"), File("n.ipynb", f"{url}/n{version}.ipynb"))
        built = await home.build(home.job("10.5281/zenodo.1", version, files=files))
        assert built.exit.ok, built.text + built.exit.reason
        assert "Downloading n.ipynb" in built.text
        content = home.workshop().images.open(built.job.image).content
        assert json.loads((content / "n.ipynb").read_text()) == {"version": version}
        facts.append(built.exit.facts)
    assert facts[0]["environment"] == facts[1]["environment"]
    assert facts[1]["reused"] == "yes"
    refused = await home.build(home.job("10.5281/zenodo.2", "1", files=(File("x", "http://127.0.0.1:9/x"),)))
    assert not refused.exit.ok
    assert "127.0.0.1" in refused.exit.reason
