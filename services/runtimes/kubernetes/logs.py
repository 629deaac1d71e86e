"""The log of a build pod, line by line from any line on, whatever happens to the connection.

A pod's log can only be read from its beginning (or from a second of a clock, which is no line), so a reader that comes
back counts the lines that it has had. The build program keeps its log far below the size at which a node rotates logs.
"""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

from services.runtimes.base import LogLine
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.objects import pods
from services.runtimes.kubernetes.pods import CONTAINER
from services.runtimes.said import Fact, Reason
from services.runtimes.said import read as heard
from services.states import BuildState

PHASES = {"fetching": BuildState.FETCHING, "building": BuildState.BUILDING, "pushing": BuildState.PUSHING}


@dataclass(slots=True)
class Position:
    """Where a reader stands; kept by whoever reads, over connections."""

    line: int  # the next line of the source, from 1
    phase: str = "building"  # of lines that tell none
    reason: Reason = field(default_factory=Reason)  # what was said on the way, for the sentence of a failure


def taken(position: Position, lines: Sequence[bytes]) -> list[LogLine]:
    """The lines as ours; moves the position behind them."""
    found = []
    for raw in lines:
        line = heard(raw.rstrip(b"\r\n"), position.phase)
        if isinstance(line, Fact):  # for a worker that can answer; it counts as a line all the same
            line = LogLine(position.phase, "")
        position.reason.hear(line)
        if line.phase in PHASES:
            position.phase = line.phase
        found.append(replace(line, phase=position.phase))
    position.line += len(found)
    return found


async def read(cluster: Cluster, pod: str, position: Position, *, follow: bool) -> AsyncGenerator[list[LogLine], None]:
    """The lines from `position` on, in batches, until the log or the connection ends.

    A last line without its end is taken only where the log is over (`follow` is False): it may still grow.
    """
    number = 0
    batches = cluster.log(pods(cluster.namespace, pod), container=CONTAINER, follow=follow)
    async with contextlib.aclosing(batches):
        async for batch in batches:
            whole = [line for line in batch if not follow or line.endswith(b"\n")]
            skip = max(0, position.line - 1 - number)
            number += len(whole)
            if fresh := whole[skip:]:
                yield taken(position, fresh)
