"""Builds outlive whoever follows them, and end entirely when they are stopped."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from services.runtimes.base import Exit, Lines, Plan
from services.runtimes.local.builder import LocalBuilder
from services.runtimes.local.detached import Running, status
from services.runtimes.local.limits import descendants
from tests.gitrepo import Repo
from tests.processes import gone
from tests.services.runtimes.local.ground import Built, Ground

SLOW = "#!/bin/bash\nfor i in $(seq 1 40); do echo line $i; while [ $i = 5 ] && [ ! -e go ]; do sleep 0.05; done; done\n"


async def test_a_build_outlives_whoever_follows_it(home: Ground, repo: Repo, url: str) -> None:
    """kill -9 of the following process: the same process of the build is found, the log goes on at the next line."""
    job = home.job(url, repo.commit({"postBuild": SLOW}))
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom services.runtimes.base import BuildJob, Plan, Lines\n"
        "from services.runtimes.local.builder import LocalBuilder\nfrom tests.services.runtimes.local.ground import Ground\n"
        "from tests.services.runtimes.local.packages import Index\n"
        "root = Path(sys.argv[1]); home = Ground(root, Index(root / 'index')); builder = LocalBuilder(home.workshop())\n"
        "job = BuildJob(*sys.argv[2:3], 1, *sys.argv[3:])\n"
        "async def main():\n    await builder.start(job)\n    async for item in builder.follow(job, 1):\n"
        "        if isinstance(item, Plan): await builder.proceed(job, False)\n"
        "        if isinstance(item, Lines):\n            for line in item.lines: print(line.message, end='', flush=True)\n"
        "asyncio.run(main())\n"
    )
    follower = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(home.root), job.id, job.image, job.provider, job.repo_url, job.commit,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[4],
    )
    assert follower.stdout is not None
    seen = []
    run = home.root / "local/builds" / job.handle / "post"
    try:
        async for line in follower.stdout:
            seen.append(line.decode())
            if line == b"line 5\n":
                break
        before = status(run)
    finally:
        follower.kill()
        await follower.wait()
    builder, found = LocalBuilder(home.workshop()), Built(job)
    await builder.start(job)
    assert isinstance(before, Running)
    assert status(run) == before, "the build's process is another one"
    (run.parent / "content/go").touch()
    async for item in builder.follow(job, 1):
        found.items.append(item)
    assert found.exit.ok, found.text
    assert found.text.startswith("".join(seen))
    assert [line.message for line in found.lines if line.message.startswith("line ")] == [f"line {i}\n" for i in range(1, 41)]
    later = [item async for item in builder.follow(job, len(seen) + 1)]
    first = next(item for item in later if isinstance(item, Lines))
    assert (first.first, first.lines[0].message) == (len(seen) + 1, "line 6\n")
    await builder.remove(job.handle)


async def test_a_stopped_build_leaves_no_process(home: Ground, repo: Repo, url: str) -> None:
    script = "#!/bin/sh\nsetsid sleep 1000 &\ntrap '' TERM\necho waiting\nwhile :; do sleep 1000; done\n"
    job = home.job(url, repo.commit({"postBuild": script}))
    builder = LocalBuilder(home.workshop())
    await builder.start(job)
    async for item in builder.follow(job, 1):
        if isinstance(item, Plan):
            await builder.proceed(job, False)
        if isinstance(item, Lines) and "waiting\n" in [line.message for line in item.lines]:
            break
    assert await builder.running() == [job.handle]
    found = status(home.root / "local/builds" / job.handle / "post")
    assert isinstance(found, Running)
    below = descendants(found.pid)
    assert len(below) >= 4
    await builder.stop(job)
    assert await builder.running() == []
    await gone(*below)
    last = [item async for item in builder.follow(job, 1)][-1]
    assert isinstance(last, Exit)
    assert (last.reason, last.retryable) == ("postBuild was stopped along with the service.", True)
    await builder.remove(job.handle)


async def test_a_killed_shim_takes_everything_along(home: Ground, repo: Repo, url: str) -> None:
    job = home.job(url, repo.commit({"postBuild": "#!/bin/sh\necho waiting\nsleep 1000\n"}))
    builder, last = LocalBuilder(home.workshop()), None
    await builder.start(job)
    below: list[int] = []
    async for item in builder.follow(job, 1):
        if isinstance(item, Plan):
            await builder.proceed(job, False)
        if isinstance(item, Lines) and "waiting\n" in [line.message for line in item.lines]:
            found = status(home.root / "local/builds" / job.handle / "post")
            assert isinstance(found, Running)
            below = descendants(found.pid)
            os.kill(found.pid, signal.SIGKILL)
        last = item
    assert isinstance(last, Exit)
    assert (last.reason, last.retryable) == ("postBuild was killed from outside, or the machine was restarted.", True)
    await gone(*below)
    await builder.remove(job.handle)
