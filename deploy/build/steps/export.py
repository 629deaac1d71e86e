"""Taking a built image out of buildah's store, for the worker to fetch and push.

The layers of base images that all builds share stay as they are, so that they are named by their diff id and a registry
that has them is not sent them again; the build's own are compressed here, where the container's limits bind the work.
"""

import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from steps import say
from steps.job import OUT

BASES = Path("/bases/dockyard.json")
_BLOCK = 1 << 20


def export(image: str, push: bool) -> None:
    """Leave `/out/image.json` and the blobs that it names, or `/out/image.tar` for an engine."""
    if not push:
        say.line("Writing the image for the engine.", "building")
        subprocess.run(["buildah", "push", "--quiet", "--", image, f"docker-archive:{OUT}/image.tar:{image}"], check=True)
        say.fact(archive=True)
        return
    say.line("Writing the image's layers.", "building")
    directory = OUT / "image"
    subprocess.run(["buildah", "push", "--quiet", "--", image, f"dir:{directory}"], check=True)
    manifest = json.loads((directory / "manifest.json").read_text())
    config = directory / _hex(manifest["config"]["digest"])
    base = set(json.loads(BASES.read_text())) if BASES.exists() else set[str]()
    layers = []
    for entry, diff_id in zip(manifest["layers"], json.loads(config.read_text())["rootfs"]["diff_ids"], strict=True):
        path = directory / _hex(entry["digest"])
        if diff_id in base and entry["digest"] == diff_id:
            layers.append({"file": path.name, "digest": diff_id, "size": path.stat().st_size, "squeezed": False})
        else:
            layers.append(_squeezed(path, entry["digest"] == diff_id))
    found = {"config": {"file": config.name, "digest": manifest["config"]["digest"], "size": config.stat().st_size}, "layers": layers}
    (OUT / "image.json").write_text(json.dumps(found))
    say.fact(image=manifest["config"]["digest"])


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _squeezed(path: Path, raw: bool) -> dict[str, object]:
    """A layer, compressed unless it is already."""
    if raw:
        squeezed = path.with_suffix(".gz")
        with path.open("rb") as source, squeezed.open("wb") as to, gzip.GzipFile(
            filename="", mode="wb", fileobj=to, compresslevel=1, mtime=0,
        ) as packed:
            shutil.copyfileobj(source, packed, _BLOCK)
        path.unlink()
        path = squeezed
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha.update(block)
    return {"file": path.name, "digest": f"sha256:{sha.hexdigest()}", "size": path.stat().st_size, "squeezed": True}


def bases(archives: list[str]) -> None:
    """Fill the store that contained builds share: `python -m steps bases FILE…`, one file of `docker save` each."""
    found: list[str] = []
    words = ["buildah", "--root=/bases"]
    for archive in archives:
        tags = json.loads(subprocess.run(["tar", "-xOf", archive, "manifest.json"], check=True, capture_output=True).stdout)
        done = subprocess.run([*words, "pull", "--quiet", f"docker-archive:{archive}"], check=True, capture_output=True, text=True)
        image = done.stdout.strip().splitlines()[-1]
        for entry in tags:
            for tag in entry["RepoTags"] or ():
                subprocess.run([*words, "tag", image, _full(tag)], check=True)
        shown = json.loads(subprocess.run([*words, "inspect", "--type=image", image], check=True, capture_output=True).stdout)
        found += shown["OCIv1"]["rootfs"]["diff_ids"]
        Path(archive).unlink()
    BASES.write_text(json.dumps(found))


def _full(tag: str) -> str:
    """A name as a Dockerfile means it: what has no host is Docker Hub's."""
    first = tag.partition("/")[0]
    if "/" in tag and (any(mark in first for mark in ".:") or first == "localhost"):
        return tag
    return f"docker.io/{tag}" if "/" in tag else f"docker.io/library/{tag}"

