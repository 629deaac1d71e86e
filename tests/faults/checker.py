"""What must hold whatever died: rows, events, logs, the hub and what runs, compared with each other.

`settled` waits until nothing is in flight; `check` then looks at everything. Each finding is a sentence.
"""

import asyncio
import json
import time

from tests.faults.client import NUMBERED
from tests.faults.place import Place
from tests.faults.watch import Watch

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


async def settled(place: Place, seconds: float) -> list[str]:
    """Wait until nothing is in flight; what still is after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found = [row.found for row in await place.query(_IN_FLIGHT)]
        if not found or time.monotonic() > deadline:
            return [f"still in flight: {what}" for what in found]
        await asyncio.sleep(0.2)


async def check(place: Place, seconds: float = 40.0) -> list[str]:
    """Everything that does not hold; what the reaper has to mend is given so many seconds."""
    found: list[str] = []
    for rule, statement in _RULES.items():
        found += [f"not so: {rule}: {row.id}" for row in await place.query(statement)]
    found += await _lines(place)
    deadline, watch = time.monotonic() + seconds, Watch(place)
    while left := await _missing(place) + [f"left over: {thing.what}" for thing in await watch.strange()]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.5)
    return found + left


async def _lines(place: Place) -> list[str]:
    """Stored lines `line K of N`: each line of each attempt once and in order, all of them where it was built."""
    found: list[str] = []
    for build in await place.query("SELECT id, repo_url, state FROM build"):
        step = count = 0
        for chunk in await place.query("SELECT first, last, body FROM log_chunk WHERE build = :id ORDER BY first", id=build.id):
            lines = chunk.body.split("\n")
            if len(lines) != chunk.last - chunk.first + 1:
                found.append(f"build {build.id[:12]}: {len(lines)} lines in chunk {chunk.first}-{chunk.last}")
            for line in lines:
                message = json.loads(line)["message"]
                if (match := NUMBERED.search(message)) is not None:
                    count = int(match[2])
                    if int(match[1]) != step + 1:
                        found.append(f"build {build.id[:12]} of {build.repo_url}: line {match[1]} after {step}")
                    step = int(match[1])
                elif "Trying again" in message:
                    step = 0
        if build.state == "built" and step != count:
            found.append(f"build {build.id[:12]} of {build.repo_url}: built, and its log ends with line {step} of {count}")
    return found


async def _missing(place: Place) -> list[str]:
    """Servers that rows know of and the hub does not."""
    at_hub = await place.hub_users()
    return [f"the hub has no server of {row.user_name}, and a row says that it runs"
            for row in await place.query("SELECT user_name FROM server WHERE state <> 'stopped'") if not at_hub.get(row.user_name)]
