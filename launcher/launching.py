"""One launch at the hub, in its owner's hands: start or adopt its server, relay what the hub says, stop it when asked.

The hub's user is named from the launch and the attempt, so whoever takes over after a crash finds the server that was
begun. A failed attempt's server and user are removed before the next attempt begins, and only while the row is still
ours. """

import asyncio
import contextlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
import structlog

from services.db import Batch, DatabaseGone
from services.errors import DockyardError, Forbidden, ImageVanished, LaunchFailed, LeaseLost, Misconfigured, Overloaded, Unreachable
from services.events import Kind, NewEvent
from services.hub.client import Hub
from services.hub.models import UserOptions
from services.hub.spawn import spawn
from services.lifecycle import Lease, Move, Teller
from services.lifecycle.builds import Wanted
from services.lifecycle.holds import fail_waiters, free, hold
from services.names import server_id, user_name
from services.policy import Policy
from services.providers.layout import request
from services.runtimes.base import ImageStore, Presence
from services.secrets import Secret
from services.settings import BuildSettings, HubSettings
from services.states import LaunchState, LaunchTarget
from services.usecases.settle import Resolution, Settled, settle

log = structlog.get_logger()

# Only for launches that are still ours: a row of a launcher that slept through its lease would stay for ever. A row that has
# been stopped lives again where the same attempt is made once more.
_SERVERS = sa.text("""
    WITH ours AS (
      SELECT r.* FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS r(id text, launch text, epoch int, attempt int, image text, user_name text)
      JOIN launch l ON l.id = r.launch AND l.epoch = r.epoch AND l.state = 'launching'
    ), made AS (
      INSERT INTO server (id, launch, attempt, image, user_name, state)
      SELECT id, launch, attempt, image, user_name, 'starting' FROM ours
      ON CONFLICT (id) DO UPDATE SET state = 'starting', stopped_at = NULL WHERE server.state = 'stopped'
    )
    SELECT id FROM ours
""")
_OVER = sa.text("UPDATE server SET state = 'stopped', stopped_at = now() WHERE id = :id AND state <> 'stopped'")
_OURS = sa.text("SELECT 1 FROM launch WHERE id = :id AND epoch = :epoch AND state = ANY(CAST(:states AS text[]))")
_LIVE = frozenset({LaunchState.LAUNCHING, LaunchState.READY, LaunchState.STOPPING})


class Launching:
    """The work on one claimed launch in `launching`, `stopping`, or `ready` with another target."""

    def __init__(
        self, teller: Teller, hub: Hub, images: ImageStore, secret: Secret, settings: HubSettings, builds: BuildSettings,
        policy: Policy | None = None,
    ) -> None:
        self._teller = teller
        self._hub = hub
        self._images = images
        self._secret = secret
        self._settings = settings
        self._builds = builds
        self._policy = policy
        self._servers: Batch[dict[str, Any], bool] = Batch(self._insert, key=lambda row: row["id"])

    async def aclose(self) -> None:
        """Wait for rows that are being written."""
        await self._servers.aclose()

    async def work(self, lease: Lease) -> None:
        """Bring one launch a step on."""
        state = lease.claimed.row["state"]
        if state == LaunchState.LAUNCHING and lease.target == LaunchTarget.READY:
            await self._launch(lease)
        else:
            await self._stop(lease)

    async def give_up(self, lease: Lease) -> None:
        """End a launch that has waited too long for a hub that is away; the hub is not asked."""
        await self._wait(lease, Unreachable(self._hub.throttle.breaker.state().reason or "JupyterHub does not answer."), 1.0)

    # -- starting --------------------------------------------------------------------------------------------

    async def _launch(self, lease: Lease) -> None:
        claimed = lease.claimed
        if claimed.crashes >= self._builds.crashes:
            with contextlib.suppress(Unreachable, Overloaded, LaunchFailed):  # what is left, the reaper removes
                await self._remove(lease)
            await self._fail(lease, LaunchFailed("Starting this server has stopped several launchers; it was given up."))
            return
        if self._policy is not None and (banned := await self._policy.launch_refusal(claimed.row)) is not None:
            with contextlib.suppress(Unreachable, Overloaded, LaunchFailed):
                await self._remove(lease)
            await self._fail(lease, banned)
            return
        starting = asyncio.create_task(self._start(lease))
        cancelled = asyncio.create_task(lease.changed.wait())
        try:
            await asyncio.wait({starting, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                await self._stop(lease)
                return
            await self._started(lease, starting.result())
        except DatabaseGone:
            raise  # Nothing is known to have failed: whoever has the row next adopts what has been begun.
        except (LaunchFailed, Unreachable, Overloaded) as error:
            await self._failed(lease, error)
        except DockyardError as error:
            if isinstance(error, LeaseLost):
                raise
            await self._fail(lease, error)
        finally:
            for task in (starting, cancelled):
                task.cancel()
            await asyncio.gather(starting, cancelled, return_exceptions=True)

    async def _start(self, lease: Lease) -> str:
        claimed = lease.claimed
        row = claimed.row
        name, server = _names(lease)
        if not await self._servers.submit({
            "id": server, "launch": claimed.id, "epoch": claimed.epoch, "attempt": row["attempt"], "image": row["image"], "user_name": name,
        }):
            raise LeaseLost(f"launch {claimed.id[:12]} has another owner")

        async def say(message: str) -> None:
            await self._teller.must(Move(
                claimed.id, None, (NewEvent(Kind.PROGRESS, {"message": message}),), epoch=claimed.epoch,
                allowed=frozenset({LaunchState.LAUNCHING})))

        async def own() -> None:
            if not await self._teller.db.rows(_OURS, {"id": claimed.id, "epoch": claimed.epoch, "states": sorted(_LIVE)}):
                raise LeaseLost(f"launch {claimed.id[:12]} has another owner")

        return await spawn(
            self._hub, name, self._options(lease, server), seconds=self._settings.launch_timeout, say=say, own=own)

    def _options(self, lease: Lease, server: str) -> UserOptions:
        row = lease.claimed.row
        environment = row["options"].get("env") or {}
        return UserOptions(
            image=row["image"], token=self._secret.server_token(server), repo_url=row["repo_url"] or "",
            binder_ref_url=row["ref_url"] or "", binder_launch_host=row["launch_host"],
            binder_request=_request(row), binder_persistent_request=_persistent(row),
            binder_client_ip=row["client"], extra={"environment": environment} if environment else {},
        )

    async def _started(self, lease: Lease, url: str) -> None:
        claimed = lease.claimed
        row = claimed.row
        _, server = _names(lease)
        data = {
            "url": url, "image": row["image"], "repo_url": row["repo_url"], "binder_ref_url": row["ref_url"],
            "binder_launch_host": row["launch_host"], "binder_request": _request(row), "binder_persistent_request": _persistent(row),
            "binder_client_ip": row["client"], "server": server,
        }
        await self._teller.must(Move(
            claimed.id, LaunchState.READY, (NewEvent(Kind.READY, data),), epoch=claimed.epoch, values={"url": url}, release=True))
        lease.released = True
        log.info("launch_ready", image=row["image"], attempt=row["attempt"])
        self._hub.throttle.ready()
        if row["held"]:
            await free(self._teller, row["image"])

    # -- failing ---------------------------------------------------------------------------------------------

    async def _failed(self, lease: Lease, error: DockyardError) -> None:
        claimed = lease.claimed
        row = claimed.row
        _, server = _names(lease)
        if isinstance(error, Unreachable):
            # The hub is away and has failed nothing. What it has begun, if anything, is found again by the next owner.
            await self._wait(lease, error, random.uniform(0.2, 1.5))  # noqa: S311 - to spread, not to hide
            return
        await self._teller.db.rows(_OVER, {"id": server})
        if isinstance(error, Overloaded):
            await self._wait(lease, error, error.retry_after * random.uniform(1.0, 1.3))  # noqa: S311
            return
        assert isinstance(error, LaunchFailed)
        if await self._vanished(lease, error):
            return
        held = await hold(self._teller.db, row["image"])
        if error.retryable and row["attempt"] <= self._settings.retries:
            delay = self._settings.retry_delay * 2.0 ** (row["attempt"] - 1) * random.uniform(0.8, 1.2)  # noqa: S311
            await self._again(lease, error, row["attempt"] + 1, round(delay, 1))
            return
        await self._fail(lease, error)
        if held and (number := await fail_waiters(self._teller, row["image"], error)):
            log.warning("image_does_not_start", image=row["image"], waiters=number, reason=error.sentence)

    async def _wait(self, lease: Lease, error: DockyardError, delay: float) -> None:
        """Give the launch back without an attempt used, and say why it waits; too long a wait is its end."""
        claimed = lease.claimed
        age = claimed.row["age"].total_seconds()
        if age > self._settings.patience:
            await self._fail(lease, type(error)(f"{error.sentence} The launch has waited for {age / 60:.0f} minutes and was given up.", *(
                [error.retry_after] if isinstance(error, Overloaded) else [])))
            return
        told = {"message": f"{error.sentence} The launch waits and goes on by itself.", "waits": True}
        await self._teller.must(Move(
            claimed.id, None, (NewEvent(Kind.PROGRESS, told),), epoch=claimed.epoch,
            allowed=frozenset({LaunchState.LAUNCHING}), values={"due_in": delay}, release=True))
        lease.released = True
        log.warning("launch_waits", reason=error.sentence, seconds=round(delay, 1))

    async def _again(self, lease: Lease, error: DockyardError, attempt: int, delay: float) -> None:
        claimed = lease.claimed
        await self._teller.must(Move(
            claimed.id, None, (NewEvent(Kind.RETRYING, {
                "attempt": claimed.row["attempt"], "message": error.sentence, "seconds": delay}),), epoch=claimed.epoch,
            allowed=frozenset({LaunchState.LAUNCHING}), values={"attempt": attempt, "due_in": delay}, release=True))
        lease.released = True
        log.warning("launch_retried", reason=error.sentence, attempt=attempt, seconds=delay)

    async def _vanished(self, lease: Lease, error: LaunchFailed) -> bool:
        """Send the launch back to a build, once, if its image is really gone."""
        row, presence = lease.claimed.row, Presence.UNKNOWN
        if not row["rebuilt"]:
            with contextlib.suppress(Forbidden, Misconfigured):  # a registry that refuses us says nothing of the image
                presence = await self._images.exists(row["image"])
        if presence is not Presence.NO:
            return False
        log.warning("image_vanished", image=row["image"], reason=error.sentence)
        wanted = Wanted(
            image=row["image"], provider=row["provider"], repo_url=row["repo_url"], commit=row["resolved_ref"],
            subdir=row["subdir"] or "", environment=row["environment_source"], client=row["client"])
        values = {"attempt": row["attempt"] + 1, "rebuilt": True}
        settled = await settle(self._teller, Resolution(
            lease.claimed.id, lease.claimed.epoch, row["build_only"], wanted, values), Presence.NO)
        if settled is Settled.AGAIN:  # Somebody else has had it built meanwhile.
            await self._again(lease, error, row["attempt"] + 1, 0)
        lease.released = True
        return True

    async def _fail(self, lease: Lease, error: DockyardError) -> None:
        hint = "" if not isinstance(error, ImageVanished) else "Start a new launch; it will build the image again."
        reason = {"code": error.code, "message": error.sentence, "hint": hint}
        await self._teller.must(Move(
            lease.claimed.id, LaunchState.FAILED, (NewEvent(Kind.FAILED, {"reason": reason}),), epoch=lease.claimed.epoch,
            values={"reason": reason}))
        lease.released = True
        log.warning("launch_failed", code=error.code, reason=error.sentence)

    # -- stopping --------------------------------------------------------------------------------------------

    async def _stop(self, lease: Lease) -> None:
        claimed = lease.claimed
        cancelled = claimed.row["state"] == LaunchState.LAUNCHING
        if claimed.row["state"] == LaunchState.READY:
            await self._teller.must(Move(
                claimed.id, LaunchState.STOPPING, (NewEvent(Kind.STOPPING, {"why": claimed.row["stop_reason"]}),), epoch=claimed.epoch))
        try:
            await self._remove(lease)
        except (Unreachable, Overloaded, LaunchFailed) as error:
            log.warning("stop_failed", reason=error.sentence)
            await self._teller.must(Move(
                claimed.id, None, epoch=claimed.epoch, allowed=_LIVE, values={"due_in": self._settings.retry_delay}, release=True))
            lease.released = True
            return
        if cancelled:
            reason = {"code": "cancelled", "message": "The launch was cancelled.", "hint": ""}
            state, told = LaunchState.CANCELLED, NewEvent(Kind.CANCELLED, {"reason": reason})
        else:
            state, told = LaunchState.STOPPED, NewEvent(Kind.STOPPED, {"why": claimed.row["stop_reason"]})
        await self._teller.must(Move(claimed.id, state, (told,), epoch=claimed.epoch))
        lease.released = True
        log.info("launch_stopped", why=claimed.row["stop_reason"] or "cancelled")

    async def _remove(self, lease: Lease) -> None:
        await self._hub.remove(_names(lease)[0])

    async def _insert(self, rows: Sequence[dict[str, Any]]) -> Sequence[bool]:
        ours = {row.id for row in await self._teller.db.rows(_SERVERS, {"rows": json.dumps(list(rows))})}
        return [row["id"] in ours for row in rows]


def _names(lease: Lease) -> tuple[str, str]:
    """The hub user and the server id of the launch's present attempt."""
    row = lease.claimed.row
    return user_name(row["repo_url"] or row["spec"], lease.claimed.id, row["attempt"]), server_id(lease.claimed.id, row["attempt"])


def _request(row: Mapping[str, Any]) -> str:
    """What was asked for, as a path below the front door."""
    return request(row["provider"], row["spec"], row["subdir"], row["environment_link"])


def _persistent(row: Mapping[str, Any]) -> str:
    """The same, pinned."""
    kept = row["environment_source"]
    apart = f"{kept['provider']}/{kept['spec']}" if kept else row["environment_link"]
    return request(row["provider"], row["resolved_spec"] or row["spec"], row["subdir"], apart)
