"""The OpenAPI document, made true where the framework's own is not.

Errors of this API are problem bodies (RFC 9457) of their own media type, also those for a body that does not fit, and
everything is below the base path.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import MEDIA_TYPE

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_ABOUT = """\
Launches turn a link to a repository into a running Jupyter server. `POST /api/v1/launches` accepts one at once; its events
tell how it goes, and its `url` and `token` open the server. BinderHub's clients find what they know below `/build`.

Every error is a problem body with a stable `code` and a sentence in `detail`. Lists need the admin token as a bearer."""


def describe(app: FastAPI, base_url: str) -> None:
    """Make the app answer with this document; it is made once, when somebody first asks."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, routes=app.routes, description=_ABOUT,
                servers=[{"url": base_url.rstrip("/") or "/"}],
            )
            app.openapi_schema = _corrected(made)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _corrected(made: dict[str, Any]) -> dict[str, Any]:
    for methods in made["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status == "422":
                    operation["responses"][status] = {"description": "The request does not fit.", "content": _PROBLEM}
                elif int(status) >= 400 and response.get("content"):
                    response["content"] = _PROBLEM
            operation["responses"]["default"] = {"description": "Something else is wrong; the sentence says what.", "content": _PROBLEM}
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)
    return made
