"""Taking a built image out of buildah's store, for the worker to fetch and push.

The layers of base images that all builds share stay as they are, so that they are named by their diff id and a registry
that has them is not sent them again; the build's own are compressed here, where the container's limits bind the work.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from steps import say
from steps.job import OUT

BASES = Path("/bases/blobs")
FULL = Path("/bases/full")  # the mark that the store of bases is complete
_BLOCK = 1 << 20


def export(image: str, push: bool) -> None:
    """Leave `/build/out/image.json` and the blobs that it names, or `/build/out/image.tar` for an engine."""
    first = image.partition("/")[0]
    kept = image if "." in first or ":" in first or first == "localhost" else f"localhost/{image}"
    if not push:
        say.line("Writing the image for the engine.", "building")
        # Every name that buildah has for it goes along, and on the engine one too many keeps the image when ours is removed.
        named = _full(image)
        if named != kept:
            subprocess.run(["buildah", "tag", kept, named], check=True)
            subprocess.run(["buildah", "rmi", kept], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["buildah", "push", "--quiet", "--", named, f"docker-archive:{OUT}/image.tar:{image}"], check=True)
        say.fact(archive=True)
        return
    say.line("Writing the image's layers.", "building")
    blobs = OUT / "image" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    base = {path.name for path in BASES.iterdir()} if BASES.exists() else set[str]()
    for name in base:  # buildah takes these for written already
        (blobs / name).symlink_to(BASES / name)
    subprocess.run(["buildah", "push", "--quiet", "--disable-compression", "--", kept, f"oci:{OUT}/image:latest"], check=True)
    index = json.loads((OUT / "image" / "index.json").read_text())
    manifest = json.loads((blobs / _hex(index["manifests"][0]["digest"])).read_text())
    config = blobs / _hex(manifest["config"]["digest"])
    layers = []
    for entry in manifest["layers"]:
        name = _hex(entry["digest"])
        if name in base:
            path = BASES / name
            layers.append({"file": str(path), "digest": entry["digest"], "size": path.stat().st_size, "squeezed": False})
        else:
            layers.append(_squeezed(blobs / name, entry["mediaType"].endswith("tar")))
    found = {"config": {"file": str(config), "digest": manifest["config"]["digest"], "size": config.stat().st_size}, "layers": layers}
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
    return {"file": str(path), "digest": f"sha256:{sha.hexdigest()}", "size": path.stat().st_size, "squeezed": True}


def bases(archives: list[str]) -> None:
    """Fill the store that contained builds share: `python -m steps bases FILE…`, one file of `docker save` each.

    The layers are kept twice: unpacked for builds, and as they came for a registry that has not got them yet.
    """
    if FULL.exists():
        return
    environ = {**os.environ, "CONTAINERS_STORAGE_CONF": "/etc/containers/bases.conf"}

    def run(*arguments: str) -> str:
        return subprocess.run(["buildah", *arguments], env=environ, check=True, stdout=subprocess.PIPE, text=True).stdout

    BASES.mkdir(exist_ok=True)
    for archive in archives:
        image = run("pull", "--quiet", f"docker-archive:{archive}").strip().splitlines()[-1]
        diff_ids = json.loads(run("inspect", "--type=image", image))["OCIv1"]["rootfs"]["diff_ids"]
        with tarfile.open(archive) as tar:
            manifest = tar.extractfile("manifest.json")
            assert manifest
            for entry in json.load(manifest):
                for tag in entry["RepoTags"] or ():
                    run("tag", image, _full(tag))
                for name, diff_id in zip(entry["Layers"], diff_ids, strict=True):
                    member = tar.extractfile(name)
                    assert member
                    with member, (BASES / _hex(diff_id)).open("wb") as to:
                        shutil.copyfileobj(member, to, _BLOCK)
        Path(archive).unlink()
    FULL.touch()


def _full(tag: str) -> str:
    """A name as a Dockerfile means it: what has no host is Docker Hub's."""
    first = tag.partition("/")[0]
    if "/" in tag and (any(mark in first for mark in ".:") or first == "localhost"):
        return tag
    return f"docker.io/{tag}" if "/" in tag else f"docker.io/library/{tag}"

