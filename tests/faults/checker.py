"""What must hold whatever died: rows, events, logs, the hub and what runs, compared with each other.

`settled` waits until nothing is in flight; `check` then looks at everything once. `Watch` looks while faults happen, for
what must never be so even for a moment. Each finding is a sentence.
"""

import asyncio
import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from services.errors import DockyardError
from services.runtimes.fake import Script
from tests.faults.site import Site

_IN_FLIGHT = """
    SELECT 'launch ' || left(id, 12) || ' is ' || state || ' (target ' || target || ', owner ' || coalesce(lease_owner, 'none')
      || ', lease ' || coalesce((lease_until - now())::text, 'none') || ', crashes ' || crashes || ')' AS found
    FROM launch WHERE state NOT IN ('ready', 'stopped', 'done', 'failed', 'cancelled') OR (state = 'ready' AND target <> 'ready')
    UNION ALL
    SELECT 'build ' || left(id, 12) || ' of ' || repo_url || ' is ' || state || ' (target ' || target || ', owner '
      || coalesce(lease_owner, 'none') || ')'
    FROM build WHERE ended_at IS NULL
"""
_RULES: dict[str, str] = {
    "events without a gap, as many as the row counts": """
        SELECT l.id FROM launch l LEFT JOIN event e ON e.launch = l.id GROUP BY l.id
        HAVING count(e.seq) <> l.seq OR coalesce(max(e.seq), 0) <> l.seq OR coalesce(min(e.seq), 1) <> 1""",
    "exactly one end of the stream": """
        SELECT l.id || ' ' || l.state AS id FROM launch l LEFT JOIN event e ON e.launch = l.id
          AND e.kind IN ('ready', 'done', 'failed', 'cancelled')
        WHERE l.state IN ('ready', 'done', 'failed', 'cancelled', 'stopping', 'stopped') GROUP BY l.id HAVING count(e.seq) <> 1""",
    "the last event says the row's state": """
        SELECT l.id || ' ' || l.state || ' ' || e.state AS id FROM launch l JOIN event e ON e.launch = l.id AND e.seq = l.seq
        WHERE e.state <> l.state""",
    "a failure has a reason": """
        SELECT id FROM launch WHERE state = 'failed' AND coalesce(reason->>'message', '') = ''
        UNION ALL SELECT id FROM build WHERE state = 'failed' AND coalesce(reason->>'message', '') = ''""",
    "log chunks follow each other": """
        SELECT build || ' ' || first AS id FROM (
          SELECT build, first, last, lag(last, 1, 0) OVER (PARTITION BY build ORDER BY first) AS before FROM log_chunk) c
        WHERE first <> before + 1 OR last < first""",
    "a build counts its lines": """
        SELECT b.id FROM build b LEFT JOIN log_chunk c ON c.build = b.id GROUP BY b.id HAVING coalesce(max(c.last), 0) <> b.lines""",
    "at most one build of a generation, and one that succeeded": """
        SELECT image AS id FROM build GROUP BY image, generation HAVING count(*) > 1
        UNION ALL SELECT image FROM build WHERE state = 'built' AND NOT no_cache GROUP BY image HAVING count(*) > 1""",
    "nobody owns what has ended": """
        SELECT id FROM launch WHERE ended_at IS NOT NULL AND lease_owner IS NOT NULL
        UNION ALL SELECT id FROM build WHERE ended_at IS NOT NULL AND lease_owner IS NOT NULL""",
    "a ready launch has one server that runs, an ended one none": """
        SELECT l.id || ' ' || l.state || ' ' || count(s.id) AS id FROM launch l
        LEFT JOIN server s ON s.launch = l.id AND s.state <> 'stopped'
        GROUP BY l.id HAVING (l.state = 'ready' AND (count(s.id) <> 1 OR max(s.state) <> 'running'))
          OR (l.ended_at IS NOT NULL AND count(s.id) > 0)""",
}


async def settled(site: Site, seconds: float) -> list[str]:
    """Wait until nothing is in flight; what still is after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found = [row.found for row in await site.query(_IN_FLIGHT)]
        if not found or time.monotonic() > deadline:
            return [f"still in flight: {what}" for what in found]
        await asyncio.sleep(0.2)


async def check(site: Site, seconds: float = 40.0) -> list[str]:
    """Everything that does not hold; what the reaper has to mend is given so many seconds."""
    found: list[str] = []
    for rule, statement in _RULES.items():
        found += [f"not so: {rule}: {row.id}" for row in await site.query(statement)]
    found += await _lines(site)
    deadline = time.monotonic() + seconds
    while left := await _leftovers(site):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.3)
    return found + left


async def _lines(site: Site) -> list[str]:
    """Stored lines of the fake builds: each line of each attempt once and in order, all of them where it was built."""
    found: list[str] = []
    for build in await site.query("SELECT id, repo_url, state FROM build"):
        step, count = 0, Script.of(build.repo_url).lines
        for chunk in await site.query("SELECT first, last, body FROM log_chunk WHERE build = :id ORDER BY first", id=build.id):
            lines = chunk.body.split("\n")
            if len(lines) != chunk.last - chunk.first + 1:
                found.append(f"build {build.id[:12]}: {len(lines)} lines in chunk {chunk.first}-{chunk.last}")
            for line in lines:
                message = json.loads(line)["message"]
                if (match := re.fullmatch(r"line (\d+) of \d+\n", message)) is not None:
                    if int(match[1]) != step + 1:
                        found.append(f"build {build.id[:12]} of {build.repo_url}: line {match[1]} after {step}")
                    step = int(match[1])
                elif "Trying again" in message:
                    step = 0
        if build.state == "built" and step != count:
            found.append(f"build {build.id[:12]} of {build.repo_url}: built, and its log ends with line {step} of {count}")
    return found


async def _leftovers(site: Site) -> list[str]:
    """Servers at the hub against rows, both ways, and runs that no row needs."""
    running = {row.user_name for row in await site.query("SELECT user_name FROM server WHERE state <> 'stopped'")}
    at_hub = await hub_users(site)
    found = [f"the hub has no server of {name}, and a row says that it runs" for name in running if not at_hub.get(name)]
    found += [f"the hub knows {name}, and no row does" for name in at_hub if name not in running]
    found += [f"a run is left over: {handle}" for handle in runs(site)]
    return found


async def hub_users(site: Site) -> dict[str, dict[str, Any]]:
    """The hub's users with their servers, past the proxy."""
    users: dict[str, dict[str, Any]] = {}
    url: str | None = f"http://127.0.0.1:{site.hub_behind}/hub/api/users?limit=1000"
    while url:
        page = (await site.client.get(url)).json()
        users |= {item["name"]: item["servers"] for item in page["items"]}
        following = page["_pagination"]["next"]
        url = f"http://127.0.0.1:{site.hub_behind}/hub/api/users?limit=1000&offset={following['offset']}" if following else None
    return users


def runs(site: Site) -> list[str]:
    """The handles of fake builds that were started and not removed."""
    return [path.stem for path in (Path(site.settings.home.path) / "fake" / "builds").glob("*.json")]


class Watch:
    """Looks all the time for two runs of one image at once, and for how long taken-over rows had no owner."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.found: set[str] = set()
        self.takeovers: list[float] = []  # seconds from a kill to the next owner
        self._orphaned: dict[tuple[str, str], tuple[int, float]] = {}

    async def killed(self, pid: int) -> None:
        """Whatever this process owned waits for its next owner from now on. Call before the kill."""
        for table in ("launch", "build"):
            rows = await self._site.query(
                f"SELECT id, epoch FROM {table} WHERE lease_owner LIKE :owner AND ended_at IS NULL", owner=f"%:{pid}:%")
            for row in rows:
                self._orphaned[table, row.id] = (row.epoch, time.monotonic())

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            # The database is one of the things that are broken.
            with contextlib.suppress(DockyardError, DBAPIError, OSError):
                await self._look()
            await asyncio.sleep(0.1)

    async def _look(self) -> None:
        for (table, row), (epoch, since) in list(self._orphaned.items()):
            rows = await self._site.query(f"SELECT epoch, lease_owner, ended_at FROM {table} WHERE id = :id", id=row)
            if not rows or rows[0].ended_at is not None or rows[0].epoch != epoch or rows[0].lease_owner is None:
                if rows and rows[0].epoch != epoch:
                    self.takeovers.append(time.monotonic() - since)
                del self._orphaned[table, row]
        now, at = time.time(), {}
        for path in (Path(self._site.settings.home.path) / "fake" / "builds").glob("*.json"):
            try:
                at[path.stem] = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
        if len({state["image"] for state in at.values()}) == len(at):
            return
        scripts = {row.id: Script.of(row.repo_url) for row in await self._site.query("SELECT id, repo_url FROM build")}
        active: dict[str, list[str]] = {}
        still = set(runs(self._site))
        for handle, state in at.items():
            script = scripts.get(handle.split("-")[1])
            goes_on = script is not None and (script.hang or now - float(state.get("go", state["at"])) < script.seconds)
            if goes_on and handle in still:
                active.setdefault(state["image"], []).append(handle)
        self.found |= {f"two runs of {image} at once: {' '.join(sorted(handles))}" for image, handles in active.items() if len(handles) > 1}
