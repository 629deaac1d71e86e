"""Every state of every page on true rows, for whoever looks at all of them: axe, the screenshots, the check of what pages load."""

from typing import Any

import sqlalchemy as sa

from services.events import Kind, NewEvent
from services.states import LaunchState
from tests.api.front import COMMIT
from tests.api.live import REASON, Live

LONG = "an-organisation-with-a-very-long-name/and-a-repository-that-tells-its-whole-story-in-its-name-2026"
RIGHT_TO_LEFT = "משרד-החינוך/מחברת-לימוד"
LOG = [
    "Collecting numpy==2.4.1 (from -r requirements.txt (line 1))\n", "  Downloading numpy-2.4.1-cp311-manylinux.whl (16.9 MB)\n",
    "\x1b[2K   \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[32m16.9/16.9 MB\x1b[0m \x1b[31m48.2 MB/s\x1b[0m eta \x1b[36m0:00:00\x1b[0m\n",
    "Collecting torchh (from -r requirements.txt (line 4))\n",
    "\x1b[31mERROR: Could not find a version that satisfies the requirement torchh (from versions: none)\x1b[0m\n",
    "\x1b[31mERROR: No matching distribution found for torchh\x1b[0m\n",
]


async def scenes(live: Live) -> dict[str, Any]:
    """The states by name, as paths; the launches that are ready among them by their ids under `ids of ready`."""
    await _earlier(live)
    waiting = await live.launch()
    for _ in range(3):
        await live.launch("other/one/HEAD")
    await live.process.db.rows(sa.text("UPDATE launch SET due = now() + interval '5 s' WHERE id = :id"), {"id": waiting})
    resolving = await live.launch()
    await live.move(resolving, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    building, build = await live.building()
    await live.log(build, 1, LOG[:4])
    await live.set_build(build, repo_url="https://github.com/norvig/pytudes")
    await _spent(live, build, "building", fetching=2, building=14)
    queued, queue = await live.building()
    await live.set_build(queue, state="queued")
    pushing, push = await live.building()
    await live.set_build(push, state="pushing")
    await live.log(push, 1, LOG[:4])
    await _spent(live, push, "pushing", fetching=30, building=28, pushing=3)
    failed, broken = await live.building()
    last = await live.log(broken, 1, LOG)
    await live.fail(failed, broken, REASON, last)
    unresolved = await live.launch("norvig/pytude/HEAD")
    reason = {"code": "unresolved", "message": "GitHub knows no repository norvig/pytude.", "hint": "Check the link; a private repository "
              "needs a token."}
    await live.move(unresolved, LaunchState.FAILED, NewEvent(Kind.FAILED, {"reason": reason}), reason=reason)
    starting = await live.launch()
    await live.move(starting, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    await live.move(
        starting, LaunchState.LAUNCHING, NewEvent(Kind.FOUND, {"image": "i"}), NewEvent(Kind.LAUNCHING), image="i", resolved_ref=COMMIT)
    ready, _ = await live.building()
    await live.ready(ready, live.at("/"))
    ending, _ = await live.building()
    await live.ready(ending, live.at("/"))
    await live.server(ending, seconds=110)
    await live.end_soon(ending, seconds=110)
    old, _ = await live.building(repo=LONG, spec=f"{LONG}/HEAD")
    await live.ready(old, live.at("/"))
    await live.server(old, seconds=20, why="max-age")
    await live.end_soon(old, seconds=20)
    cancelled, _ = await live.building()
    await live.move(cancelled, LaunchState.CANCELLED, NewEvent(Kind.CANCELLED))
    stopped = await _stopped(live)
    done = await live.launch(build_only=True)
    await live.move(done, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
    await live.move(done, LaunchState.DONE, NewEvent(Kind.DONE, {"image": "i", "found": True}), image="registry.example.org/r2d-norvig:x")
    long, wide = await live.building(repo=LONG, spec=f"{LONG}/feature/with-a-long-branch-name", ref="feature/with-a-long-branch-name")
    await live.log(wide, 1, [f"line {n} " + "x" * (n % 400) + "\n" for n in range(1, 2001)])
    rtl, _ = await live.building(repo=RIGHT_TO_LEFT, spec="a/b/HEAD")
    return {
        "home": "/", "home found": "/?link=https://github.com/norvig/pytudes/blob/main/ipynb/Advent.ipynb&share=1",
        "home wrong": "/?link=nonsense", "about": "/about", "nothing": "/nothing", "asked": "/v2/gh/norvig/pytudes/HEAD",
        "bad link": "/v2/gh/norvig", "no provider": "/v2/xyz/a/b/HEAD", "waiting": f"/launches/{waiting}",
        "resolving": f"/launches/{resolving}", "queued": f"/launches/{queued}", "building": f"/launches/{building}",
        "pushing": f"/launches/{pushing}", "starting": f"/launches/{starting}", "ready": f"/launches/{ready}",
        "ending": f"/launches/{ending}", "over soon": f"/launches/{old}",
        "failed": f"/launches/{failed}", "unresolved": f"/launches/{unresolved}", "cancelled": f"/launches/{cancelled}",
        "stopped": f"/launches/{stopped}", "done": f"/launches/{done}", "expired": f"/launches/{'0' * 32}", "long": f"/launches/{long}",
        "right to left": f"/launches/{rtl}", "build": f"/builds/{broken}", "build running": f"/builds/{build}", "gone": "/gone/norvig-1",
        "gone long ago": "/gone/nobody-1", "ops login": "/ops", "ids of ready": [ready, ending, old],
    }


async def _spent(live: Live, build: str, state: str, **marks: int) -> None:
    """Write when a build came to its states, in seconds ago, the newest last."""
    total = sum(marks.values())
    await live.process.db.rows(sa.text(
        "UPDATE build SET created_at = now() - :total * interval '1 s', started_at = now() - :total * interval '1 s' WHERE id = :id"),
        {"id": build, "total": total})
    for name, seconds in marks.items():
        await live.process.db.rows(sa.text("""
            UPDATE build SET marks = marks || jsonb_build_object(CAST(:name AS text), extract(epoch FROM now()) - :ago) WHERE id = :id
        """), {"id": build, "name": name, "ago": total})
        total -= seconds
    await live.process.db.rows(sa.text("""
        UPDATE event SET at = at - :ago * interval '1 s' WHERE launch IN (SELECT id FROM launch WHERE build = :id)
    """), {"id": build, "ago": sum(marks.values()) + 0.6})
    await live.process.db.rows(sa.text("UPDATE launch SET created_at = created_at - :ago * interval '1 s' WHERE build = :id"),
                               {"id": build, "ago": sum(marks.values()) + 1})


async def _earlier(live: Live) -> None:
    """Builds and starts of yesterday, so that there is a pace."""
    db = live.process.db
    await db.rows(sa.text("""
        INSERT INTO build (id, image, provider, repo_url, commit, state, created_at, started_at, ended_at, marks)
        SELECT md5(n::text), 'old-' || n, 'gh', 'https://github.com/norvig/pytudes', 'c', 'built', now() - interval '1 day',
          now() - interval '1 day', now() - interval '1 day' + took * interval '1 s',
          jsonb_build_object('pushing', extract(epoch FROM now() - interval '1 day') + took - 4)
        FROM (SELECT n, 25 + 5 * n AS took FROM generate_series(1, 6) n) b
    """))
    await db.rows(sa.text("""
        INSERT INTO launch (id, state, caller, client, provider, spec, repo, ref, created_at, ready_at, ended_at)
        SELECT md5('l' || n), 'stopped', 'c', 'c', 'gh', 'norvig/pytudes/HEAD', 'norvig/pytudes', 'HEAD', now() - interval '1 day',
          now() - interval '1 day' + interval '4 s', now() FROM generate_series(1, 6) n
    """))
    await db.rows(sa.text("""
        INSERT INTO event (launch, seq, kind, state, data, at)
        SELECT md5('l' || n), e.seq, e.kind, e.kind, '{}', now() - interval '1 day' + e.after * interval '1 s' FROM generate_series(1, 6) n,
          (VALUES (1, 'waiting', 0), (2, 'building', 1), (3, 'launching', 2), (4, 'ready', 4)) AS e(seq, kind, after)
    """))


async def _stopped(live: Live) -> str:
    launch, _ = await live.building(options={"urlpath": "lab"})
    await live.ready(launch)
    await live.process.db.rows(
        sa.text("INSERT INTO server (id, launch, attempt, image, user_name, state) VALUES ('s', :launch, 1, 'i', 'norvig-1', 'running')"),
        {"launch": launch})
    await live.move(launch, LaunchState.STOPPING, NewEvent(Kind.STOPPING), stop_reason="idle")
    await live.move(launch, LaunchState.STOPPED, NewEvent(Kind.STOPPED))
    return launch
