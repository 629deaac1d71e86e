"""One launch for its holder, complete: shared by the REST routes and the pages."""

import re
from contextlib import suppress

from api import shapes
from api.bodies import Launch
from api.services import ApiServices
from api.streams import watched
from services.errors import DockyardError, NotFound
from services.states import LAUNCH_OPEN
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
    if view.row["ended_at"] is None and (view.row["now"] - view.row["created_at"]).total_seconds() > 60:
        with suppress(DockyardError):
            await watched.seen(db, [launch_id])
    row, build = view.row, None
    if row["build"]:
        with suppress(NotFound):  # it has expired before its launch
            build = shapes.build(await read.build(db, row["build"]), row["now"])
    left = None
    if row["state"] in LAUNCH_OPEN and not view.waits:  # nobody knows when that comes back
        usual = await services.pace.usual(db, row["repo_url"])
        state, timings = row["state"], view.timings
        if build is None or state != "building":
            spent = timings.get(state, 0.0) + (timings.get("waiting", 0.0) if state == "resolving" else 0.0)
        else:
            names = ("pushing",) if build.state == "pushing" else ("fetching", "building")
            spent = sum(build.timings.get(name, 0.0) for name in names)
        left = usual.left(state, build.state if build else "", spent, view.position or 0)
    return shapes.held_launch(view, services.secret, build, left)
