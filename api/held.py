"""One launch for its holder, complete: shared by the REST routes and the pages."""

import re

from api import shapes
from api.bodies import Launch
from api.services import ApiServices
from services.errors import NotFound
from services.usecases import read

_ID = re.compile(r"[0-9a-f]{32}")


def checked_id(text: str, what: str) -> str:
    """An id as ours are; raises `NotFound` for anything else, without asking the database."""
    if not _ID.fullmatch(text):
        raise NotFound(f"There is no such {what}. It may have expired.")
    return text


async def held(services: ApiServices, launch_id: str) -> Launch:
    """The launch with this id; raises `NotFound`. To know the id is the right to see it."""
    db = services.teller.db
    view = await read.launch(db, checked_id(launch_id, "launch"))
    build_state = None
    if view.row["build"] and view.row["state"] == "building":
        build_state = (await read.build(db, view.row["build"]))["state"]
    usual = await services.pace.usual(db)
    estimate = usual.left(view.row["state"], view.timings, view.position)
    return shapes.held_launch(view, services.secret, build_state, None if estimate is None else round(estimate, 1))
