"""Addresses of earlier years, which still stand in READMEs."""

from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from api.services import services_of

router = APIRouter(include_in_schema=False)


@router.get("/repo/{user}/{repo}")
@router.get("/repo/{user}/{repo}/{path:path}")
async def repo(request: Request, user: str, repo: str, path: str = "") -> Response:
    """`/repo/user/repo[/path]`: the launch page of a GitHub repository.

    BinderHub goes to the branch `master`; HEAD is that branch where there still is one, and what took its
    place otherwise.
    """
    base = services_of(request).settings.front.base_url
    query = f"?urlpath={quote('/' + path, safe='')}" if path else ""
    return RedirectResponse(f"{base}v2/gh/{user}/{repo}/HEAD{query}", 302)
