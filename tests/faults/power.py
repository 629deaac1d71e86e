"""Kill -9 of a whole tree at random moments, then `up` again: as a machine that lost its power, with the disk as it was.

Clients launch all the time and come back to whatever answers. Half of the times the sandboxes of builds and servers are
killed too; the other half they go on, and are adopted.
"""

import asyncio
import random

from tests.faults.driver import Driver, Outcome
from tests.faults.tree import Tree


async def cut_off(tree: Tree, driver: Driver, seed: int, moments: int, *, longest: float = 8.0, ready: int = 0) -> Outcome:
    """Kill the tree at so many moments, `longest` seconds apart, and let so many launches become ready at least; `recoveries` has the
    seconds until it was healthy again.
    """
    order = random.Random(f"moments {seed}")
    outcome = driver.outcome
    ended = asyncio.Event()
    async with driver.launching(ended) as client:
        for _ in range(moments):
            await asyncio.sleep(order.uniform(0.5, longest))
            runs = order.random() < 0.5
            kind = "kill all and what they run" if runs else "kill all"
            outcome.faults[kind] += 1
            with driver.watch.hurting("forge"):
                tree.kill_all(order, runs=runs)
                outcome.recoveries[f"{kind}, until healthy"].append(await tree.up())
            story = await driver.known(client)
            if story.end == "ready":
                outcome.recoveries[f"{kind}, then until a launch is ready"].append(story.ready)
        while outcome.ends["ready"] < ready:
            await driver.known(client)
        ended.set()
    return outcome
