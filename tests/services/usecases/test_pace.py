"""How long a launch will still take, from the rows of earlier ones."""


import pytest
import sqlalchemy as sa

from services.db import Database
from services.usecases.pace import Pace, Span, Usual

USUAL = Usual(Span(0.2, 0.4, 0.6), Span(20, 30, 60), Span(2, 3, 4), Span(1, 2, 3), 2)


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        (("waiting", "", 0.0, 0), Span(1.3, 2.4, 67.6)),  # it may have to be built, or not
        (("building", "queued", 0.0, 3), Span(58, 87.5, 172)),
        (("building", "fetching", 10.0, 0), Span(13, 25, 57)),
        (("building", "pushing", 1.0, 0), Span(2, 4, 6)),
        (("launching", "built", 1.0, 0), Span(0.3, 1, 2)),
        (("launching", "built", 50.0, 0), None),  # nobody knows
        (("ready", "built", 0.0, 0), None),
    ],
)
def test_what_is_left(asked: tuple[str, str, float, int], left: Span | None) -> None:
    found = USUAL.left(*asked)
    assert (found is None) == (left is None)
    if found is not None and left is not None:
        assert (found.low, found.usual, found.high) == pytest.approx((left.low, left.usual, left.high))
    assert Usual().left(*asked) is None


async def test_a_repository_has_a_pace_of_its_own(db: Database) -> None:
    async with db.engine.begin() as conn:  # of one moment, whenever that is
        await conn.execute(sa.text("""
            INSERT INTO build (id, image, provider, repo_url, commit, state, started_at, ended_at, marks)
            SELECT n::text, n::text, 'git', CASE WHEN n <= 2 THEN 'slow' ELSE 'other' END, 'c', 'built',
              now() - took * interval '1 s', now(),
              jsonb_build_object('pushing', extract(epoch FROM now()) - took / 10)
            FROM (SELECT n, CASE WHEN n <= 2 THEN 300 ELSE 30 + n END AS took FROM generate_series(1, 12) n) b
        """))
        await conn.execute(sa.text("""
            INSERT INTO launch (id, state, caller, client, provider, spec, repo, ref, created_at, ready_at)
            SELECT n::text, 'ready', 'c', 'c', 'git', 's', 'r', '', now() - interval '10 s', now() FROM generate_series(1, 4) n
        """))
        await conn.execute(sa.text("""
            INSERT INTO event (launch, seq, kind, state, data, at)
            SELECT n::text, e.seq, e.kind, e.kind, '{}', now() - e.ago * interval '1 s' FROM generate_series(1, 4) n,
              (VALUES (1, 'waiting', 10), (2, 'building', 9), (3, 'launching', 3), (4, 'ready', 0)) AS e(seq, kind, ago)
        """))
    pace = Pace()
    known, new = await pace.usual(db, "slow"), await pace.usual(db, "https://example.org/new")
    assert known.start is not None
    assert (known.start.low, known.start.usual, known.start.high) == pytest.approx((2.4, 3.0, 3.75), abs=0.1)
    assert known.work is not None
    assert new.work is not None
    assert known.push is not None
    assert (known.work.usual, known.push.usual) == pytest.approx((270, 30), abs=1)
    assert 30 < new.work.usual < 60
    left = known.left("building", "building", 100.0, 0)
    assert left is not None
    assert left.usual == pytest.approx(170 + 30 + 3, abs=1)


async def test_of_too_little_nothing_is_said(db: Database) -> None:
    assert await Pace().usual(db, None) == Usual(running=0)
