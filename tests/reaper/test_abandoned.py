"""Launches that nobody watches."""

import sqlalchemy as sa

from reaper.builds import Builds
from services.settings import BuildSettings, ReaperSettings, Settings
from services.states import LaunchState
from tests.reaper.ground import a_teller
from tests.services.lifecycle.test_moves import insert, state


async def test_a_launch_that_nobody_watches_is_cancelled_and_others_are_not(settings: Settings) -> None:
    async with a_teller(settings) as teller:
        for name in ("watched", "left", "image"):
            await insert(teller.db, name, LaunchState.WAITING)
        await teller.db.rows(sa.text("""
            UPDATE launch SET created_at = now() - interval '1 hour', lease_owner = NULL, build_only = (id = 'image'),
              watched_at = CASE WHEN id = 'watched' THEN now() - interval '1 minute' END
        """))
        builds = Builds(teller, ReaperSettings(abandoned=600), BuildSettings())
        # Whoever writes down who watches may have been away as well, as long as this reaper has not seen all well for a while.
        assert await builds.abandoned() == {"abandoned": 0}
        builds._calm_since -= 100
        assert await builds.abandoned() == {"abandoned": 1}
        row = await state(teller.db, "left")
        assert (row.state, row.reason["code"]) == ("cancelled", "abandoned")
        assert {(await state(teller.db, name)).state for name in ("watched", "image")} == {"waiting"}
        assert await Builds(teller, ReaperSettings(abandoned=0), BuildSettings()).abandoned() == {"abandoned": 0}
