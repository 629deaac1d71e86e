"""In which order waiting rows are taken when there is less room than there are rows: by turns, not by arrival.

Every client has a turn, and in a turn one of its rows; so a thousand rows of one client stand behind the first row of everybody
else. Within a turn a repository has eight places, so a link that a thousand people follow at once leaves room for other links.
Where rows stand equal, providers take turns, and then the oldest comes first. What has been taken lately counts as if it stood
before the rest (`Served`), or a service with a single place would take the oldest client's rows one after the other.

The order is made of the waiting rows when it is needed, and nothing of it is stored: 10,000 rows take 50 ms, once a second
at most, and only where rows have waited for a second (see `claims`). The api computes positions with the same statement.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PLACES = 8  # of one repository in a turn
_HALF = 60.0  # seconds after which what was served counts half
_LEAST = 0.25  # what counts less is forgotten


@dataclass(frozen=True, slots=True)
class Share:
    """Whose row it is: expressions in the columns of `c`."""

    client: str
    repo: str
    provider: str = "c.provider"


# Whoever has one address of IPv6 has a network full of them.
LAUNCH = Share(
    "CASE WHEN position(':' IN c.client) > 0 THEN coalesce(c.network, c.client) ELSE c.client END", "c.provider || '/' || c.repo")
BUILD = Share("coalesce(c.client, '')", "c.provider || '/' || c.repo_url")


def order(table: str, where: str, share: Share) -> str:
    """A query of `id`, `waited` (seconds) and `place` (from 1) of the rows that `where` (of `c`) leaves, in their order.

    `:served` is what `Served.payload` gives, or '[]'.
    """
    return f"""
        WITH served AS MATERIALIZED (
          SELECT kind, key, round(n)::int AS n FROM jsonb_to_recordset(CAST(:served AS jsonb)) AS s(kind text, key text, n float8)
        ), waiting AS MATERIALIZED (
          SELECT c.id, c.due, {share.client} AS client, {share.repo} AS repo, {share.provider} AS provider FROM {table} c WHERE {where}
        ), by_client AS (
          SELECT w.*, coalesce(s.n, 0) + row_number() OVER (PARTITION BY w.client ORDER BY w.due, w.id) AS turn
          FROM waiting w LEFT JOIN served s ON s.kind = 'client' AND s.key = w.client
        ), by_repo AS (
          SELECT b.*, b.turn + (coalesce(s.n, 0) + row_number() OVER (PARTITION BY b.repo, b.turn ORDER BY b.due, b.id) - 1)
            / {PLACES} AS round
          FROM by_client b LEFT JOIN served s ON s.kind = 'repo' AND s.key = b.repo
        ), by_provider AS (
          SELECT b.id, b.due, b.round, coalesce(s.n, 0) + row_number() OVER (PARTITION BY b.provider, b.round ORDER BY b.due, b.id) AS nth
          FROM by_repo b LEFT JOIN served s ON s.kind = 'provider' AND s.key = b.provider
        )
        SELECT id, extract(epoch FROM now() - due)::float8 AS waited, row_number() OVER (ORDER BY round, nth, due, id) AS place
        FROM by_provider ORDER BY place
    """  # noqa: S608 - only constants of this module's callers go in


class Served:
    """What one process has taken lately, fading. `now` gives seconds of a steady clock."""

    def __init__(self, half: float = _HALF, now: Callable[[], float] = time.monotonic) -> None:
        self._half = half
        self._now = now
        self._at = now()
        self._counts: dict[tuple[str, str], float] = {}

    def took(self, row: Mapping[str, Any]) -> None:
        """A row was taken; it has `share_client`, `share_repo` and `share_provider`."""
        for kind in ("client", "repo", "provider"):
            key = (kind, str(row[f"share_{kind}"]))
            self._counts[key] = self._counts.get(key, 0.0) + 1

    def payload(self) -> list[dict[str, object]]:
        """What still counts."""
        now = self._now()
        fade = 0.5 ** ((now - self._at) / self._half)
        self._at = now
        self._counts = {key: n * fade for key, n in self._counts.items() if n * fade >= _LEAST}
        return [{"kind": kind, "key": key, "n": n} for (kind, key), n in self._counts.items()]
