"""`/api/v1/links`: what a pasted link means, and how to share it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.bodies import Link, Problem
from api.reading import link_of_parts, link_of_text

router = APIRouter(prefix="/api/v1", tags=["launches"])


@router.get("/links", summary="Read a link", responses={
    400: {"model": Problem, "description": "It cannot be understood; the sentence says why."},
})
async def read(
    request: Request,
    link: Annotated[str | None, Query(max_length=4000, description="Anything one would paste.")] = None,
    provider: Annotated[str, Query(max_length=40)] = "",
    repo: Annotated[str, Query(max_length=4000)] = "",
    ref: Annotated[str, Query(max_length=400)] = "",
    path: Annotated[str, Query(max_length=4000)] = "",
    subdir: Annotated[str, Query(max_length=500)] = "",
    environment: Annotated[str, Query(max_length=4000)] = "",
) -> Link:
    """The meaning of a link, or of its parts as somebody has corrected them. Asks no forge."""
    if link is not None:
        return link_of_text(request, link)
    return link_of_parts(request, provider, repo, ref, path, subdir, environment)
