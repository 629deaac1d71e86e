"""Our own files: style, scripts, icons. Read once, compressed once, kept in memory (all of them are smaller than one photograph).

An address carries the hash of its content (`/static/launch.js?v=3f2a…`), so a browser may keep it for a
year and still gets the new file after an update. Only names that exist in the folder are known, so no path
can lead out of it.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.errors import NotFound

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
    ".png": "image/png", ".ico": "image/x-icon",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_FOR_AN_HOUR = "public, max-age=3600"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is sent. `hash` is 12 hex digits of its SHA-256; `packed` is None where gzip gains nothing."""

    body: bytes
    packed: bytes | None
    media_type: str
    hash: str


@cache
def files() -> dict[str, StaticFile]:
    """All files by name."""
    found = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            packed = gzip.compress(body, 9, mtime=0)
            small = packed if len(packed) < len(body) * 0.9 else None
            found[path.name] = StaticFile(body, small, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:12])
    return found


def address(base_url: str, name: str) -> str:
    """The address of a file below the base path, with its hash."""
    return f"{base_url}static/{name}?v={files()[name].hash}"


def answer(request: Request, name: str, *, embeddable: bool = False) -> Response:
    """The file, or 304 if the client has it. `embeddable`: pages of other origins may show it."""
    file = files().get(name)
    if file is None:
        raise NotFound("There is no such file.")
    headers = {
        "cache-control": _FOR_EVER if request.query_params.get("v") == file.hash else _FOR_AN_HOUR,
        "etag": f'"{file.hash}"',
        "vary": "Accept-Encoding",
    }
    if embeddable:
        headers["cross-origin-resource-policy"] = "cross-origin"
    if file.media_type == "image/svg+xml":
        # A picture that is opened by itself is a document; its own style is all it needs.
        headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    if file.hash in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.media_type, headers=headers | {"content-encoding": "gzip"})
    return Response(file.body, media_type=file.media_type, headers=headers)


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
async def static(request: Request, name: str) -> Response:
    """A file of ours."""
    return answer(request, name)


@router.api_route("/badge_logo.svg", methods=["GET", "HEAD"])
async def badge_logo(request: Request) -> Response:
    """The badge that READMEs embed, 109 × 20."""
    return answer(request, "badge_logo.svg", embeddable=True)


@router.api_route("/badge.svg", methods=["GET", "HEAD"])
@router.api_route("/assets/images/badge.svg", methods=["GET", "HEAD"])
async def badge(request: Request) -> Response:
    """The older badge, 92 × 20."""
    return answer(request, "badge.svg", embeddable=True)


@router.api_route("/logo_social.png", methods=["GET", "HEAD"])
async def logo_social(request: Request) -> Response:
    """The picture that chats and social sites show beside a link, 1334 × 700."""
    return answer(request, "logo_social.png", embeddable=True)


@router.api_route("/favicon.ico", methods=["GET", "HEAD"])
async def favicon(request: Request) -> Response:
    """The icon, for whoever asks without having read a page."""
    return answer(request, "icon.svg", embeddable=True)
