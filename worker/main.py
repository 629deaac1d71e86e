"""Puts a worker together: two claim loops, one for launches that must be resolved and one for builds, on one event
loop.
"""

import asyncio
from dataclasses import replace

import structlog

from services.lifecycle import ClaimLoop, Claims, Process, Work, serve, shares
from services.lifecycle.process import configured
from services.policy import Policy
from services.providers import make_providers
from services.queue import BUILDS, Listener
from services.runtimes import make_runtime
from services.runtimes.base import Builder
from services.settings import Settings
from services.tasks import end
from worker.building import Building
from worker.resolving import Resolving

log = structlog.get_logger()

RESOLVE = Work(
    name="launch", table="launch", where="c.state IN ('waiting', 'resolving')", share=shares.LAUNCH,
    columns=("target", "state", "provider", "spec", "repo", "ref", "build_only", "rebuild", "resolved_ref", "options",
             "subdir", "environment_link", "client"),
    returns="now() - t.state_at AS age",
)
BUILD = Work(
    name="build", table="build", share=shares.BUILD,
    where="c.state IN ('queued', 'fetching', 'building', 'pushing') AND c.target = 'built'",
    columns=(
        "target", "state", "attempt", "image", "provider", "repo_url", "commit", "ref", "no_cache", "options", "environment",
        "makes_environment", "lines", "bytes", "source_line", "subdir", "environment_source",
    ),
)
# What is only to be stopped needs no place among those that are built, least of all where its worker has died.
END = replace(
    BUILD, name="end", share=None,
    where="c.state IN ('queued', 'fetching', 'building', 'pushing') AND c.target IN ('cancelled', 'ending')")
_ENDS = 8  # builds that one worker brings to their end at a time


async def run(settings: Settings) -> None:
    """Work until told to stop."""
    process = Process(settings, "worker")
    providers = make_providers(settings.providers, settings.egress)
    runtime = make_runtime(settings)
    policy = Policy(process.db, process.redis, settings.providers, settings.limits)
    resolving = Resolving(process.teller, providers, runtime.images, settings.builds, policy)
    building = Building(process.teller, runtime, settings.builds, providers, policy)
    listener = Listener(process.redis, BUILDS)
    lease = settings.leases.seconds
    loops = [
        ClaimLoop("launch", Claims(process.db, RESOLVE, process.owner, lease), listener.ear(), resolving.work,
                  capacity=settings.builds.resolving, settings=settings.leases),
        ClaimLoop("build", Claims(process.db, BUILD, process.owner, lease), listener.ear(), building.work,
                  capacity=settings.builds.concurrency, settings=settings.leases),
        ClaimLoop("end", Claims(process.db, END, process.owner, lease), listener.ear(), building.work,
                  capacity=_ENDS, settings=settings.leases),
    ]

    policy.start()
    preparing = asyncio.create_task(_prepare(runtime.builder))

    async def close() -> None:
        await policy.aclose()
        await end(preparing)
        await resolving.aclose()
        for provider in providers.values():
            await provider.aclose()
        if (close_runtime := getattr(runtime, "aclose", None)) is not None:  # its connections to an engine, a cluster or a registry
            await close_runtime()

    await serve(process, BUILDS, listener, loops, before_end=close)


async def _prepare(builder: Builder) -> None:
    try:
        await builder.prepare()
    except Exception:  # the edge: the first build will say what is wrong
        log.exception("prepare_failed")


def main(settings: Settings) -> None:
    """Run one worker process."""
    configured(settings, "worker")
    asyncio.run(run(settings))
