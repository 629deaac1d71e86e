"""Errors as answers: RFC 9457 problem bodies for programs, a page for people.

Every `DockyardError` becomes a problem with its status, its stable code and its sentence; what the
framework raises itself (unknown path, wrong method, a body that does not fit) takes the same form. Somebody
who opened a page in a browser gets a page instead, with the same status. Clients of `/build` can read event
streams only, so they get one event.
"""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.pages.render import error_page
from api.phases import refusal
from api.streams.response import OneEvent
from services.errors import BadRequest, DockyardError, NotFound

MEDIA_TYPE = "application/problem+json"

_TITLES = {
    400: "The request cannot be understood", 401: "A token is needed", 403: "Not allowed", 404: "Not found",
    405: "Method not allowed", 409: "Conflict", 413: "Too long", 415: "Unsupported media type",
    422: "The request does not fit", 429: "Too many requests", 500: "Internal error", 502: "The other side does not answer",
    503: "Not available for now",
}
_SENTENCES = {
    404: "The address may be mistyped, or what was here has expired.", 405: "This address does not know that method.",
    500: "Something went wrong here.",
}
_CODES = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_long"}


class Unauthorized(DockyardError):
    """The token is missing or wrong."""

    status = 401
    code = "unauthorized"


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A problem body. `code` is stable and for programs, `detail` is a sentence for the user."""
    body = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail, "code": code}
    return Response(json.dumps(body | more), status, {"cache-control": "no-store", **(headers or {})}, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer with problems in this app."""
    app.add_exception_handler(DockyardError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _unforeseen)


def _answer(request: Request, status: int, code: str, detail: str, headers: dict[str, str], **more: Any) -> Response:
    if request.url.path.startswith("/build/"):
        return OneEvent(refusal(status, detail), headers)
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
    if wants_page:
        return error_page(request, status, detail, headers)
    return problem(status, code, detail, headers, **more)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, DockyardError)
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    wait = getattr(error, "retry_after", None)
    if wait is not None:
        headers["retry-after"] = str(wait)
        more["retry_after"] = wait
    if limit := getattr(error, "limit", ""):
        more["limit"] = limit
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return _answer(request, error.status, error.code, error.sentence, headers, **more)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"at": ".".join(str(part) for part in found["loc"]), "message": found["msg"]} for found in error.errors()]
    first = f"{errors[0]['at']}: {errors[0]['message']}." if errors else "The request does not fit."
    return _answer(request, 422, "invalid", first, {}, errors=errors)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    said = str(error.detail)
    detail = _SENTENCES.get(status, said) if said in ("Not Found", "Method Not Allowed", "") else said
    return _answer(request, status, _CODES.get(status, "error"), detail, dict(error.headers or {}))


async def _unforeseen(request: Request, error: Exception) -> Response:
    """The edge: whatever it was, it has been logged by the server; the caller learns only that it happened."""
    return _answer(request, 500, "internal", _SENTENCES[500], {})


__all__ = ["MEDIA_TYPE", "BadRequest", "NotFound", "Unauthorized", "install", "problem"]
