"""Handing a layer of content over in the registry, where the worker puts it on top of its environment's image.

A pod has no other way to give its worker a file. The layer goes there as the only one of a small image, byte for byte as it is
(buildah would write and compress it anew, so skopeo copies it); who we are at the registry and how it is reached, both programs
read from the same files.
"""

import hashlib
import json
import os
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from steps import say
from steps.layer import Layer

_OCI = "application/vnd.oci.image"


def age(image: str, plain: bool) -> float | None:
    """Seconds since an image in the registry was made; None where there is none, or nobody knows."""
    words = ["skopeo", "inspect", "--config", *(["--tls-verify=false"] if plain else []), "--", f"docker://{image}"]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    try:
        return time.time() - datetime.fromisoformat(json.loads(done.stdout)["created"][:19] + "+00:00").timestamp()
    except (ValueError, KeyError, TypeError):
        return None


def hand_over(layer: Layer, archive: Path, image: str, plain: bool) -> bool:
    """Send the layer as `image`; whether that went well."""
    place = archive.parent / "handover"
    _lay_out(layer, archive, place)
    words = ["skopeo", "copy", "--quiet", *(["--dest-tls-verify=false"] if plain else []), "--", f"oci:{place}:it", f"docker://{image}"]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    for text in done.stderr.strip().splitlines()[-5:] if done.returncode else ():
        say.line(text, "pushing")
    return done.returncode == 0


def _lay_out(layer: Layer, archive: Path, place: Path) -> None:
    """The small image, as a directory of the OCI's layout."""
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    blob = blobs / layer.digest.partition(":")[2]
    blob.unlink(missing_ok=True)
    os.link(archive, blob)

    def kept(content: dict[str, Any], kind: str) -> dict[str, Any]:
        body = json.dumps(content, sort_keys=True).encode()
        digest = hashlib.sha256(body).hexdigest()
        (blobs / digest).write_bytes(body)
        return {"mediaType": f"{_OCI}.{kind}.v1+json", "digest": f"sha256:{digest}", "size": len(body)}

    filesystem = {"type": "layers", "diff_ids": [layer.diff_id]}
    config = kept({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": filesystem}, "config")
    layers = [{"mediaType": f"{_OCI}.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size}]
    manifest = kept({"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "config": config, "layers": layers}, "manifest")
    named = {**manifest, "annotations": {"org.opencontainers.image.ref.name": "it"}}
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (place / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
