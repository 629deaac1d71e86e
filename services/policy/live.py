"""One process's copy of the rules, never older than a second or so.

Each change is told over Valkey, and the rows are read again at once. Wake-ups may be lost, so they are read every few seconds
too, and every second while Valkey does not answer. While the database is away the last copy holds: nothing is accepted then
anyway. A process that has never read the rules waits for them before it judges.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from services.db import Database
from services.errors import DockyardError, Paused, Refused
from services.policy import store
from services.policy.naming import Namer
from services.policy.rules import Fixed, Rule, Rulebook
from services.providers.base import Spec
from services.queue import Redis
from services.settings import LimitSettings, ProviderSettings
from services.tasks import end

log = structlog.get_logger()
_EVERY = 5.0  # seconds between two looks while wake-ups come
_ALONE = 1.0  # seconds while they do not
_CLEAR = 300.0  # seconds between two clearings of what rates have counted
_GUESS = 120  # seconds after which to come again where a pause has no end
NOTICE = "No new launches are accepted for now; servers that run go on."


class Policy:
    """The rules in force. `run` keeps them fresh and never ends by itself."""

    def __init__(self, db: Database, redis: Redis, providers: ProviderSettings, limits: LimitSettings) -> None:
        self._db = db
        self._redis = redis
        self._fixed = Fixed(providers, limits)
        self.namer = Namer(providers)
        self.book = Rulebook(self.namer, self._fixed)
        self._read = asyncio.Event()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow the rules."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._follow())]

    async def aclose(self) -> None:
        """Stop following."""
        await end(*self._tasks)

    async def ready(self) -> None:
        """Wait until the rules have been read once. Raises `DatabaseGone`."""
        if not self._read.is_set():
            await self.refresh()

    async def refresh(self) -> None:
        """Read them now. Raises `DatabaseGone`."""
        self._take(await store.rules(self._db))

    def _take(self, rules: Sequence[Rule]) -> None:
        readable = []
        for rule in rules:
            try:
                Rulebook(self.namer, self._fixed, [rule])
            except DockyardError as error:  # written by a version that read it otherwise
                log.warning("rule_unreadable", rule=rule.id, reason=error.sentence)
            else:
                readable.append(rule)
        self.book = Rulebook(self.namer, self._fixed, readable)
        self._read.set()

    async def _listen(self) -> None:
        async for _ in self._redis.messages(self._redis.key(store.CHANNEL)):
            self._wake.set()

    async def _follow(self) -> None:
        cleared = 0.0
        while True:
            try:
                await self.refresh()
                if time.monotonic() - cleared > _CLEAR:
                    cleared = time.monotonic()
                    await store.clear(self._db)
            except DockyardError as error:
                log.warning("rules_not_read", reason=error.sentence)
            except Exception:  # the edge: the last copy holds
                log.exception("rules_not_read")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY if self._redis.ok else _ALONE):
                    await self._wake.wait()
            self._wake.clear()

    # -- what is asked of them -------------------------------------------------------------------------------------------

    def paused(self) -> Rule | None:
        """The pause that holds, with its notice."""
        return self.book.paused()

    def notice(self) -> str:
        """What everybody is told while launches are not accepted; else nothing."""
        rule = self.book.paused()
        return (rule.message or NOTICE) if rule else ""

    def check_pause(self) -> None:
        """Raise `Paused` while launches are not accepted, with the seconds that are left where they are known."""
        rule = self.book.paused()
        if rule is not None:
            left = self.book.left(rule)
            raise Paused(rule.message or NOTICE, _GUESS if left is None else max(1, math.ceil(left)))

    def check_client(self, client: str) -> None:
        """Raise `BannedNetwork` for an address that may not launch."""
        self.book.check_client(client)

    def check_spec(self, *specs: Spec) -> None:
        """Raise `Refused` where one of these may not be launched."""
        for spec in specs:
            self.book.check(self.namer.of(spec), spec.raw)

    def check_row(self, provider: str, raw: str, repo: str = "", ref: str = "", repo_url: str = "") -> None:
        """Raise `Refused` for what a row says, by its link and by what it was resolved to."""
        self.book.check(self.namer.names(provider, raw, repo or raw, ref, repo_url), raw)

    def check_repository(self, provider: str, repo_url: str) -> None:
        """Raise `Refused` for a repository that is banned. Whether it is allowed its launches have been asked, who know more names."""
        self.book.check(self.namer.names(provider, repo_url, repo_url), repo_url, listed=False)

    async def launch_refusal(self, row: Mapping[str, Any]) -> Refused | None:
        """Why a launch that has waited may not begin: a ban has come meanwhile. Raises `DatabaseGone`."""
        await self.ready()
        try:
            self.check_client(row["client"])
            self.check_row(row["provider"], row["spec"], repo_url=row["repo_url"] or "")
            if row["environment_link"]:
                provider, _, spec = row["environment_link"].partition("/")
                self.check_row(provider, spec, repo_url=(row["environment_source"] or {}).get("repo_url", ""))
        except Refused as error:
            return error
        return None

    async def build_refusal(self, row: Mapping[str, Any]) -> Refused | None:
        """The same of a build. Raises `DatabaseGone`."""
        await self.ready()
        try:
            self.check_repository(row["provider"], row["repo_url"])
            if apart := row["environment_source"]:
                self.check_repository(apart["provider"], apart["repo_url"])
        except Refused as error:
            return error
        return None

    def quota(self, spec: Spec, usual: int) -> tuple[str, int]:
        """The one name of a spec's repository, and how many launches and servers it may have; 0 for no limit."""
        names = self.namer.of(spec)
        return names.repository, self.book.quota(names, usual)

