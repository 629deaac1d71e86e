"""Orphans: what reality has and the rows have not, on a hub of ours and on one that serves others too."""


import pytest
import sqlalchemy as sa

from bench.mock_hub import Hub as MockHub
from reaper.deeds import Deeds
from reaper.orphans import Orphans
from services.hub.client import Hub
from services.lifecycle import Teller
from services.settings import HubSettings, ReaperSettings
from tests.reaper.ground import Listed, serve, thing, user

OPEN, ENDED = "a" * 32, "b" * 32


async def build(teller: Teller, name: str, state: str, ended_ago: float | None = None, attempt: int = 1) -> None:
    await teller.db.rows(sa.text("""
        INSERT INTO build (id, image, state, attempt, provider, repo_url, commit, ended_at)
        VALUES (:id, :id, :state, :attempt, 'git', 'u', 'c', now() - :ago * interval '1 second')
    """).bindparams(sa.bindparam("ago", type_=sa.Float)), {"id": name, "state": state, "attempt": attempt, "ago": ended_ago})


@pytest.mark.parametrize("exclusive", [True, False])
async def test_only_users_of_ours_are_removed_from_a_shared_hub(teller: Teller, mock: tuple[MockHub, str], exclusive: bool) -> None:
    hub, url = mock
    for name in ("served", "over", "somebody"):
        user(hub, name)
    user(hub, "young", created=5)
    await serve(teller, "served")
    await serve(teller, "over", live=False)
    async with Hub(HubSettings(url=url, token="t")) as client:
        found = await Orphans(teller.db, client, Listed(), ReaperSettings(), exclusive=exclusive).users()
    assert set(hub.users) == ({"served", "young"} if exclusive else {"served", "somebody", "young"})
    assert found == {"users": 2 if exclusive else 1, "routes": 0}


async def test_things_without_a_live_row_are_removed_in_their_order(teller: Teller, mock: tuple[MockHub, str]) -> None:
    _, url = mock
    await build(teller, OPEN, "building", attempt=2)
    await build(teller, ENDED, "built", ended_ago=5)
    await serve(teller, "served")
    await serve(teller, "over", live=False)
    kept = [
        thing("build", "1", f"build-{OPEN}-2"), thing("volume", "1v", f"build-{OPEN}-2"),
        thing("build", "2", f"build-{ENDED}-1"),  # its worker may be removing it just now
        thing("server", "served", "served"), thing("build", "new", f"build-{'c' * 32}-1", ago=5),
    ]
    lost = [
        thing("volume", "0v", f"build-{OPEN}-1"), thing("build", "0", f"build-{OPEN}-1"), thing("server", "over", "over"),
        thing("network", "n"), thing("build", "x", f"build-{'c' * 32}-1"), thing("account", "7", "nobody"),
    ]
    reality = Listed(*kept, *lost)
    async with Hub(HubSettings(url=url, token="t")) as client:
        deeds = Deeds(dry=True)
        await Orphans(teller.db, client, reality, ReaperSettings(), deeds, exclusive=True).things()
        assert len(reality.there) == len(kept + lost)
        assert deeds.told.index("remove the build 0") < deeds.told.index("remove the volume 0v")
        # A reaper that has just started knows as much as one that has been looking for long.
        found = await Orphans(teller.db, client, reality, ReaperSettings(), exclusive=True).things()
    assert sorted(one.name for one in reality.there) == sorted(one.name for one in kept)
    assert found == {"build": 2, "volume": 1, "server": 1, "network": 1, "account": 1}
