"""From a link to a commit, and from a commit to an image that exists or a build that makes it."""

import asyncio
import math
import random
from collections.abc import Mapping
from copy import copy

import structlog

from services.db import DatabaseGone
from services.errors import DockyardError, Forbidden, LeaseLost, Misconfigured, RateLimited, UnknownProvider, Unreachable
from services.events import Kind, NewEvent
from services.lifecycle import Lease, Move, Teller
from services.lifecycle.builds import Wanted
from services.names import image_name
from services.policy import Policy
from services.providers.base import Provider, Resolved, Spec
from services.providers.layout import identity, source
from services.runtimes.base import ImageStore, Presence
from services.settings import BuildSettings
from services.states import LaunchState
from services.usecases.settle import Resolution, Settled, Settling, known

log = structlog.get_logger()
_SOON, _SLOW = 0.5, 5.0  # seconds until what does not answer is asked again: half of the launch's age, between these
_STRANGER = 10.0  # seconds that an address of any host is waited for: it may have been mistyped, which a forge's is not
_QUIET = 2.0  # seconds of waiting of which nothing is said
_PAUSE, _PATIENCE = 0.2, 150  # seconds, and how often, to wait until a cancelled build's run has been stopped


class Resolving:
    """The work on one claimed launch in `waiting` or `resolving`."""

    def __init__(
        self, teller: Teller, providers: Mapping[str, Provider], images: ImageStore, builds: BuildSettings, policy: Policy,
    ) -> None:
        self._teller = teller
        self._settling = Settling(teller)
        self._providers = providers
        self._images = images
        self._builds = builds
        self._policy = policy

    async def aclose(self) -> None:
        """Wait for what is being written."""
        await self._settling.aclose()

    async def work(self, lease: Lease) -> None:
        """Resolve one launch; whatever is wrong with it ends in `failed` with a sentence."""
        claimed = lease.claimed
        if claimed.crashes >= self._builds.crashes:
            await self._fail(lease, DockyardError("Looking up this link has stopped several workers; it was given up."))
            return
        if claimed.row["state"] == LaunchState.WAITING:
            told = {"message": f"Looking up {claimed.row['ref']} of {claimed.row['repo']}."}
            await self._teller.must(Move(
                claimed.id, LaunchState.RESOLVING, (NewEvent(Kind.RESOLVING, told),), epoch=claimed.epoch))
            log.info("launch_moved", state=LaunchState.RESOLVING, repo=claimed.row["repo"], ref=claimed.row["ref"])
        try:
            resolved, apart = await self._resolve(lease)
            await self._settle(lease, resolved, apart)
        except (LeaseLost, DatabaseGone):
            raise
        except DockyardError as error:
            await (self._wait(lease, error) if self._may_wait(lease, error) else self._fail(lease, error))
        lease.released = True

    async def _resolve(self, lease: Lease) -> tuple[Resolved, tuple[str, Resolved] | None]:
        """The commit of the link's repository; and provider and commit of the environment's, where it is another."""
        row = lease.claimed.row
        await self._policy.ready()
        self._policy.check_client(row["client"])
        if not row["environment_link"]:
            return await self._commit(row["provider"], row["spec"]), None
        apart, _, spec = row["environment_link"].partition("/")
        content, environment = await asyncio.gather(
            self._commit(row["provider"], row["spec"]), self._commit(apart, spec), return_exceptions=True)
        for what, found in (("", content), ("The environment repository: ", environment)):
            if isinstance(found, DockyardError):
                told = copy(found)  # the same may be told to others who asked for it, too
                told.sentence = f"{what}{found.sentence}"
                raise told from found
            if isinstance(found, BaseException):
                raise found
        assert isinstance(content, Resolved)
        assert isinstance(environment, Resolved)
        return content, (apart, environment)

    async def _commit(self, prefix: str, raw: str) -> Resolved:
        provider = self._providers.get(prefix)
        if provider is None:
            raise UnknownProvider(f"No provider found for prefix {prefix}")
        spec = provider.parse(raw)
        self._policy.check_spec(spec)
        resolved = provider.pinned(spec) or await self._resolved(provider, spec)
        self._policy.check_row(prefix, raw, spec.repo, spec.ref, resolved.repo_url)
        return resolved

    async def _resolved(self, provider: Provider, spec: Spec) -> Resolved:
        try:
            return await provider.resolve(spec)
        except Unreachable as error:
            error.stranger = provider.prefix == "git"
            raise

    async def _settle(self, lease: Lease, resolved: Resolved, apart: tuple[str, Resolved] | None) -> None:
        claimed = lease.claimed
        for notice in filter(None, (resolved.notice, apart[1].notice if apart else "")):
            await self._teller.must(Move(
                claimed.id, None, (NewEvent(Kind.NOTICE, {"message": notice}),), epoch=claimed.epoch,
                allowed=frozenset({LaunchState.RESOLVING})))
        kept, subdir = source(*apart) if apart else None, claimed.row["subdir"] or ""
        image = image_name(self._builds.image_prefix, resolved.slug, resolved.ref, subdir=subdir, environment=identity(kept))
        found = Resolution(
            launch=claimed.id, epoch=claimed.epoch, build_only=claimed.row["build_only"],
            wanted=Wanted(
                image=image, provider=claimed.row["provider"], repo_url=resolved.repo_url, commit=resolved.ref,
                ref=resolved.branch, client=claimed.row["client"], rebuild=claimed.row["rebuild"], subdir=subdir, environment=kept,
            ),
            values={
                "resolved_ref": resolved.ref, "resolved_spec": resolved.spec, "ref_url": resolved.ref_url,
                "repo_url": resolved.repo_url, "image": image, **({"environment_source": kept} if kept else {}),
            },
        )
        for _ in range(_PATIENCE):
            presence = await self._presence(image)
            settled = await self._settling.settle(found, presence)
            if settled is not Settled.AGAIN:
                log.info("launch_moved", state="launching" if settled is Settled.FOUND else "building", ref=resolved.ref)
                return
            await asyncio.sleep(_PAUSE)
        raise DockyardError("The image comes and goes; try again.")

    async def _presence(self, image: str) -> Presence:
        """Whether the image exists. Unknown is not absent: what we have built ourselves is taken to be there, and for anything else
        nothing is built on a guess.
        """
        try:
            presence = await self._images.exists(image)
        except (Forbidden, Misconfigured):  # A password that was changed has removed no image.
            if await known(self._teller, image):
                return Presence.YES
            raise
        if presence is Presence.UNKNOWN:
            if not await known(self._teller, image):
                raise Unreachable("The image registry does not answer, so nothing was built.")
            return Presence.YES
        return presence

    def _may_wait(self, lease: Lease, error: DockyardError) -> bool:
        """Whether this may pass by itself soon. A limit that the other side names the end of is longer than anybody waits here."""
        if not isinstance(error, Unreachable) or not error.away or isinstance(error, RateLimited):
            return False
        return _age(lease) < min(self._builds.patience, _STRANGER if error.stranger else math.inf)

    async def _wait(self, lease: Lease, error: DockyardError) -> None:
        """Give the launch back for a moment, so that it takes nobody's place, and say why it waits."""
        age, claimed = _age(lease), lease.claimed
        told = {"message": f"{error.sentence} Dockyard tries again by itself.", "waits": True}
        delay = min(max(_SOON, 0.5 * age), _SLOW) * random.uniform(0.8, 1.2)  # noqa: S311 - to spread, not to hide
        await self._teller.must(Move(
            claimed.id, None, (NewEvent(Kind.RESOLVING, told),) if age > _QUIET else (), epoch=claimed.epoch,
            allowed=frozenset({LaunchState.RESOLVING}), values={"due_in": delay}, release=True))
        log.info("launch_waits", reason=error.sentence, seconds=round(delay, 1))

    async def _fail(self, lease: Lease, error: DockyardError) -> None:
        reason = {"code": error.code, "message": error.sentence, "hint": _HINTS.get(type(error), "")}
        await self._teller.must(Move(
            lease.claimed.id, LaunchState.FAILED, (NewEvent(Kind.FAILED, {"reason": reason, "retryable": error.retryable}),),
            epoch=lease.claimed.epoch, values={"reason": reason}))
        lease.released = True
        log.info("launch_failed", code=error.code, reason=error.sentence)


def _age(lease: Lease) -> float:
    """Seconds since somebody began to look this launch's link up."""
    row = lease.claimed.row
    return float(row["age"].total_seconds()) if row["state"] == LaunchState.RESOLVING else 0.0


_HINTS: dict[type[DockyardError], str] = {
    Forbidden: "If the repository is private, this service has to be given access to it.",
    Unreachable: "Try again in a minute.",
}
