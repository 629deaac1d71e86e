"""Who comes next when there is less room than rows: floods of a client, a link or a provider starve nobody."""

import json
import time

import pytest
import sqlalchemy as sa

from launcher.main import LAUNCH
from services.db import Database
from services.lifecycle import Claims
from services.lifecycle.shares import LAUNCH as SHARE
from services.lifecycle.shares import Served, order
from worker.main import BUILD, RESOLVE

_ORDER = sa.text(order("launch", "c.state = 'launching' AND c.lease_owner IS NULL", SHARE))


async def wait_in_line(db: Database, *lines: tuple[int, str, str, str], state: str = "launching") -> None:
    """Rows of (how many, client, repository, provider) that came one after the other, the last a second ago; `#` stands for a number."""
    total, at = sum(line[0] for line in lines), 0
    for number, client, repo, provider in lines:
        await db.rows(sa.text("""
            INSERT INTO launch (id, state, caller, client, provider, spec, repo, ref, image, due, created_at)
            SELECT replace(replace(:client || '.' || :repo, '#', n::text), '/', '') || '.' || lpad(n::text, 5, '0'), :state, 'x',
              replace(:client, '#', n::text), :provider, 's', replace(:repo, '#', n::text), 'main', 'i',
              now() - interval '2 seconds' - (:total - :at - n) * interval '1 millisecond', now()
            FROM generate_series(0, :number - 1) n
        """).bindparams(*[sa.bindparam(name, type_=sa.Text) for name in ("client", "repo", "provider", "state")],
                        *[sa.bindparam(name, type_=sa.Integer) for name in ("total", "at", "number")]),
            {"client": client, "repo": repo, "provider": provider, "state": state, "number": number, "total": total, "at": at})
        at += number
    await db.rows(sa.text("ANALYZE launch"))


async def places(db: Database, like: str) -> list[int]:
    rows = await db.rows(_ORDER, {"served": "[]"})
    return [row.place for row in rows if row.id.startswith(like)]


async def test_a_clients_flood_stands_behind_everybodys_first(db: Database) -> None:
    await wait_in_line(db, (1000, "flood", "r#", "gh"), (3, "late", "mine", "gh"), (5, "other#", "theirs#", "gh"))
    assert max(await places(db, "late")) <= 20
    assert max(await places(db, "other")) <= 7
    assert (await places(db, "flood"))[:1] == [1]  # and nobody waits for nothing
    await db.aclose()


async def test_a_newcomer_to_a_flooded_link_is_not_behind_the_flood(db: Database) -> None:
    await wait_in_line(db, (1000, "flood", "viral", "gh"), (1, "late", "viral", "gh"))
    assert await places(db, "late") == [2]
    await db.aclose()


async def test_a_link_that_a_thousand_follow_leaves_room_for_other_links(db: Database) -> None:
    await wait_in_line(db, (1000, "c#", "viral", "gh"), (4, "d#", "quiet", "gh"), (1, "e", "third", "gh"))
    assert max([*await places(db, "d"), *await places(db, "e")]) <= 13
    await db.aclose()


async def test_a_providers_flood_leaves_room_for_other_providers(db: Database) -> None:
    await wait_in_line(db, (1000, "c#", "r#", "gh"), (3, "d#", "doi#", "zenodo"))
    assert await places(db, "d") == [2, 4, 6]
    await db.aclose()


@pytest.mark.parametrize("room", [1, 2, 16])
async def test_with_any_room_everybody_gets_a_share(db: Database, room: int) -> None:
    await wait_in_line(db, (300, "flood", "r#", "gh"), (10, "late", "mine", "gh"), (10, "doi", "d", "zenodo"))
    claims = Claims(db, LAUNCH, "me", 60)
    taken: list[str] = []
    while len(taken) < 60:
        rows = await claims.claim(room)
        taken += [row.id.partition(".")[0] for row in rows]
        await db.rows(sa.text("UPDATE launch SET state = 'ready' WHERE lease_owner IS NOT NULL"))
    # The first look of an idle process is by arrival; after it all have the same share of what is taken.
    assert taken[room : 60].count("late") == 10
    assert taken[room : 60].count("doi") == 10
    await db.aclose()


async def test_what_was_served_fades() -> None:
    now = 0.0
    served = Served(half=60.0, now=lambda: now)
    for _ in range(4):
        served.took({"share_client": "c", "share_repo": "r", "share_provider": "p"})
    assert {(one["kind"], one["n"]) for one in served.payload()} == {("client", 4), ("repo", 4), ("provider", 4)}
    now = 120.0
    assert {one["n"] for one in served.payload()} == {1}
    now = 500.0
    assert served.payload() == []


async def test_ten_thousand_rows_are_ordered_quickly_and_through_an_index(db: Database) -> None:
    await wait_in_line(db, (4000, "flood", "r#", "gh"), (4000, "c#", "viral", "gh"), (2000, "d#", "q#", "zenodo"))
    began = time.perf_counter()
    rows = await db.rows(_ORDER, {"served": json.dumps([{"kind": "client", "key": "flood", "n": 7.4}])})
    print(f"10,000 rows in {1000 * (time.perf_counter() - began):.0f} ms")
    assert len(rows) == 10_000
    for work in (LAUNCH, RESOLVE, BUILD):
        plan = "\n".join(row[0] for row in await db.rows(sa.text(f"""
            EXPLAIN SELECT c.id FROM {work.table} c WHERE {work.where} AND c.due <= now() ORDER BY c.due LIMIT 64 FOR UPDATE SKIP LOCKED
        """)))
        assert "Index Scan using" in plan, plan
        assert "Seq Scan on launch" not in plan, plan
    await db.aclose()
