"""One build in its owner's hands: start or adopt it, follow it line by line, move its row, finish it for all who wait.

The worker may die at any line of this. What runs is named from the build's id and attempt, the log's position is
stored with the log, and each step may be done again; so the next owner calls `start` and goes on. """

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.errors import DockyardError
from services.events import StoredEvent
from services.events.log import LogWriter
from services.lifecycle import Lease, Teller, room
from services.lifecycle.builds import Finish, Finished, finish, give_up, mark, put_off, retry
from services.lifecycle.moves import move_launches
from services.policy import Policy
from services.providers.base import Provider, Records
from services.records import File
from services.runtimes.base import BuildJob, Exit, Lines, Phase, Plan, Runtime, Source
from services.settings import BuildSettings
from services.states import BuildState, BuildTarget

log = structlog.get_logger()
_START = 60.0  # seconds that a start may take that nobody wants any more
_ROOM = 3.0  # seconds until a build looks again whether there is room
_PAUSE = 0.5  # seconds until a build looks again whether its environment has been made
_CANCEL_AT = sa.text("SELECT target, greatest(0, extract(epoch FROM cancel_at - now()))::float8 AS left FROM build WHERE id = :id")


class Building:
    """The work on one claimed build."""

    def __init__(
        self, teller: Teller, runtime: Runtime, settings: BuildSettings, providers: Mapping[str, Provider], policy: Policy | None = None,
    ) -> None:
        self._teller = teller
        self._runtime = runtime
        self._settings = settings
        self._providers = providers
        self._policy = policy

    async def work(self, lease: Lease) -> None:
        """Bring one build to its end, or leave it running for the next owner when cancelled."""
        claimed = lease.claimed
        job = _job(lease)
        writer = LogWriter(
            self._teller.db, self._teller.wake, job.id, claimed.epoch, self._settings,
            source=claimed.row["source_line"], lines=claimed.row["lines"], size=claimed.row["bytes"],
        )
        if claimed.crashes >= self._settings.crashes:
            await self._runtime.builder.stop(job)
            await self._finish(lease, writer, Exit(ok=False, reason="This build has stopped several workers; it was given up."))
            await self._remove(job)
            return
        if not await self._wanted(lease):
            await self._cancel(lease, job, writer)
            return
        if claimed.row["state"] == BuildState.QUEUED and self._policy and (banned := await self._policy.build_refusal(claimed.row)):
            await self._finish(lease, writer, Exit(ok=False, reason=banned.sentence))
            return
        if claimed.row["state"] == BuildState.QUEUED and (short := await room.shortage(self._teller.db)):
            await self._without_room(lease, writer, short)
            return
        following = asyncio.create_task(self._follow(lease, job, writer))
        cancelling = asyncio.create_task(self._cancelled(lease))
        try:
            await asyncio.wait({following, cancelling}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                exit_ = following.result()
                if exit_ is not None:
                    await self._ended(lease, job, writer, exit_)
            else:
                cancelling.result()
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await self._cancel(lease, job, writer)
        finally:
            for task in (following, cancelling):
                task.cancel()
            await asyncio.gather(following, cancelling, return_exceptions=True)

    async def _follow(self, lease: Lease, job: BuildJob, writer: LogWriter) -> Exit | None:
        """Follow to the end; None if the build has been given back because it has to wait."""
        builder = self._runtime.builder
        try:
            if lease.claimed.row["state"] in (BuildState.QUEUED, BuildState.FETCHING):
                job = await self._listed(job)
            await _to_its_end(builder.start(job))
        except DockyardError as error:
            return Exit(ok=False, reason=error.sentence, retryable=error.retryable)
        log.info("build_started", image=job.image, attempt=job.attempt)
        state = BuildState(lease.claimed.row["state"])
        async with contextlib.aclosing(builder.follow(job, lease.claimed.row["source_line"] + 1)) as items:  # type: ignore[type-var]
            async for item in items:
                match item:
                    case Lines(first, lines):
                        await writer.add(lines, source=first + len(lines) - 1)
                    case Phase(to) if to != state and to in _FORWARD[state]:
                        await mark(self._teller.db, job.id, lease.claimed.epoch, to)
                        state = to
                        log.info("build_moved", state=to)
                    case Plan():
                        if not await self._environment(lease, job, writer, item):
                            return None
                        state = BuildState.BUILDING
                    case Exit():
                        return item
                    case _:
                        pass
        return Exit(ok=False, reason="The build's log ended without a result.", retryable=True)

    async def _without_room(self, lease: Lease, writer: LogWriter, short: room.Shortage) -> None:
        """Wait for room, in nobody's place, unless there has been none for long."""
        if short.seconds >= self._settings.patience:
            await self._finish(lease, writer, Exit(ok=False, reason=short.sentence, hint="Try again later."))
            return
        if not lease.claimed.row["lines"]:
            await writer.say("There is no room for another build at the moment; waiting for it.")
        await writer.close()
        await put_off(self._teller.db, lease.claimed.id, lease.claimed.epoch, lease.claimed.row["environment"], _ROOM)
        lease.released = True

    async def _listed(self, job: BuildJob) -> BuildJob:
        """The job with the files of published records, which their archives have to be asked for. Raises as `Records.files`."""
        apart = job.environment
        if apart is not None:
            apart = replace(apart, files=await self._files(apart.provider, apart.repo_url, apart.commit))
        return replace(job, files=await self._files(job.provider, job.repo_url, job.commit), environment=apart)

    async def _files(self, provider: str, repo_url: str, ref: str) -> tuple[File, ...]:
        found = self._providers.get(provider)
        return tuple(await found.files(repo_url, ref)) if isinstance(found, Records) else ()

    async def _environment(self, lease: Lease, job: BuildJob, writer: LogWriter, plan: Plan) -> bool:
        """Let one build make each environment; False if another one does, and this one was given back for a while."""
        db, epoch = self._teller.db, lease.claimed.epoch
        exists = not job.no_cache and await self._runtime.images.environment_exists(plan.environment)
        if not await mark(db, job.id, epoch, BuildState.BUILDING, environment=plan.environment, makes=not exists):
            if lease.claimed.row["environment"] != plan.environment:
                await writer.say("Another build makes this environment at the moment; waiting for it.")
            await writer.close()
            await put_off(db, job.id, epoch, plan.environment, _PAUSE)
            lease.released = True
            return False
        if exists:
            log.info("environment_reused", environment=plan.environment[:12])
        else:
            log.info("environment_wanted", environment=plan.environment[:12], why=plan.why)
        await self._runtime.builder.proceed(job, exists)
        return True

    async def _wanted(self, lease: Lease) -> bool:
        """Whether a build may begin, or go on; one that is being cancelled does neither before somebody takes that back."""
        while lease.target != BuildTarget.BUILT:
            row = (await self._teller.db.rows(_CANCEL_AT, {"id": lease.claimed.id}))[0]
            if row.target != BuildTarget.BUILT and row.left <= 0:
                return False
            lease.target = row.target
            if row.target != BuildTarget.BUILT:
                lease.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(row.left + 0.05):
                        await lease.changed.wait()
        lease.changed.clear()
        return True

    async def _cancelled(self, lease: Lease) -> None:
        """Return when the build shall be cancelled and the grace has passed."""
        while True:
            if lease.target == BuildTarget.BUILT:
                await lease.changed.wait()
            lease.changed.clear()
            rows = await self._teller.db.rows(_CANCEL_AT, {"id": lease.claimed.id})
            if rows and rows[0].target != BuildTarget.BUILT:
                if rows[0].left <= 0:
                    return
                await asyncio.sleep(rows[0].left + 0.05)
            elif rows:
                lease.target = rows[0].target

    async def _cancel(self, lease: Lease, job: BuildJob, writer: LogWriter) -> None:
        if not await give_up(self._teller.db, job.id, lease.claimed.epoch):
            return  # Wanted again: the row is given back, and its next owner follows the run from where we left.
        await self._runtime.builder.stop(job)
        await writer.say("The build was cancelled: nobody waits for it any more.", "unknown")
        await writer.close()
        await self._close(lease, Finish(BuildState.CANCELLED, {"code": "cancelled", "message": "The build was cancelled.", "hint": ""}))
        await self._remove(job)

    async def _ended(self, lease: Lease, job: BuildJob, writer: LogWriter, exit_: Exit) -> None:
        if not exit_.ok and exit_.retryable and job.attempt < self._settings.attempts:
            await writer.say(f"{exit_.reason} Trying again.", "unknown")
            await writer.close()
            await retry(self._teller.db, job.id, lease.claimed.epoch, max(2.0 ** job.attempt, exit_.wait))
            lease.released = True
            log.warning("build_retried", reason=exit_.reason, attempt=job.attempt)
            # Not before: whoever took over in between would begin this attempt anew, and miss the first lines of it.
            await self._remove(job)
            return
        await self._finish(lease, writer, exit_)
        await self._remove(job)

    async def _finish(self, lease: Lease, writer: LogWriter, exit_: Exit) -> None:
        await writer.close()
        if exit_.ok:
            await self._close(lease, Finish(BuildState.BUILT, facts=exit_.facts))
            return
        reason = {"code": "build_failed", "message": exit_.reason or "The build failed.", "hint": exit_.hint}
        await self._close(lease, Finish(BuildState.FAILED, reason, exit_.facts))

    async def _remove(self, job: BuildJob) -> None:
        """Remove what the attempt has left. The row is told by now: what cannot be removed at the moment, the reaper removes."""
        try:
            await self._runtime.builder.remove(job.handle)
        except DockyardError as error:
            log.warning("run_not_removed", handle=job.handle, reason=error.sentence)

    async def _close(self, lease: Lease, end: Finish) -> None:
        claimed = lease.claimed

        async def work(conn: AsyncConnection) -> tuple[Finished, dict[str, list[StoredEvent]]]:
            made = await finish(conn, claimed.id, claimed.epoch, end)
            return made, await move_launches(conn, made.moves)

        made, moved = await self._teller.db.run(work)
        lease.released = True
        self._teller.told(made.moves, moved)
        self._teller.wake.publish([made.news])
        log.info(f"build_{end.state}", waiters=len(made.moves), reason=(end.reason or {}).get("message", ""))


async def _to_its_end(starting: Coroutine[Any, Any, None]) -> None:
    """Await a start, whatever becomes of us meanwhile: it goes on in its thread, and what is stopped before it has begun would run on."""
    task = asyncio.ensure_future(starting)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_START)
        raise


_FORWARD = {
    BuildState.QUEUED: {BuildState.FETCHING, BuildState.BUILDING, BuildState.PUSHING},
    BuildState.FETCHING: {BuildState.BUILDING, BuildState.PUSHING},
    BuildState.BUILDING: {BuildState.PUSHING},
    BuildState.PUSHING: set[BuildState](),
}


def _job(lease: Lease) -> BuildJob:
    row = lease.claimed.row
    apart = row["environment_source"]
    job = BuildJob(
        id=lease.claimed.id, attempt=row["attempt"], image=row["image"], provider=row["provider"], repo_url=row["repo_url"],
        commit=row["commit"], ref=row["ref"], no_cache=row["no_cache"], subdir=row["subdir"] or "",
        environment=Source(apart["provider"], apart["repo_url"], apart["commit"], apart["ref"]) if apart else None,
    )
    return replace(job, options=row["options"]) if row["options"] else job
