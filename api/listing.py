"""Lists of launches, builds and servers, part by part: the same for all of them."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
from fastapi import Query, Request

from api import shapes
from api.admin import is_reader
from api.bodies import Build, Launch, Page, Server
from api.services import services_of
from services.usecases import read

Row = TypeVar("Row", Launch, Build, Server)
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the part before.")]


async def listing(
    request: Request, table: sa.FromClause, shape: Callable[[Mapping[str, Any]], Row], limit: int, cursor: str | None, *,
    order: str = "created_at", **where: str | None,
) -> Page[Row]:
    """One part of a list, the newest first by `order`, with the cursor of the next one; of the rows that are as `where` says.

    Who has the read token only is shown one part, with ids that are good for nothing else. Raises `BadRequest` for a cursor
    that is none of ours.
    """
    services = services_of(request)
    rows = await read.page(
        services.teller.db, table, where={key: value for key, value in where.items() if value}, most=limit + 1, order=order,
        before=shapes.read_cursor(cursor) if cursor else None,
    )
    items = [shape(row) for row in rows[:limit]]
    if is_reader(request):
        return Page(items=shapes.unkeyed(items, services.secret))
    return Page(items=items, next=shapes.cursor(rows[limit - 1][order], rows[limit - 1]["id"]) if len(rows) > limit else None)
