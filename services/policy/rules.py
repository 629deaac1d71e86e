"""What is forbidden, allowed and bounded, read and ready to be asked.

Rules come from settings, which hold as long as the process, and from the table `rule`, which admins change at any time. What is
banned is banned by either; where anything is allowed by name, by either, everything else is refused; of quotas, the newest rule
wins, then the first setting.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.errors import BadRequest, BannedNetwork, Refused
from services.patterns import Expression, Pattern, any_matches, read_pattern
from services.policy.naming import Namer, Names
from services.policy.networks import Network, Networks, read_network
from services.settings import LimitSettings, ProviderSettings

_REFUSED = "Sorry, {} is not allowed to launch. Please contact admins for more info!"  # BinderHub's words
PAUSE = "pause"  # the id of the one rule of this kind


class RuleKind(StrEnum):
    """What a rule does."""

    BANNED = "banned"  # specs that match may not be launched
    ALLOWED = "allowed"  # only specs that match may be
    QUOTA = "quota"  # repositories that match may have so many launches and servers at a time
    NETWORK = "network"  # clients of this network may not launch
    PAUSE = "pause"  # nobody may


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule that somebody makes; without `seconds` it holds until it is removed."""

    kind: RuleKind
    pattern: str
    message: str = ""
    quota: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table. `left`: seconds that it held on when it was read, None for ever."""

    id: str
    kind: RuleKind
    pattern: str
    message: str = ""
    quota: int | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    created_by: str = ""
    left: float | None = None


def checked(new: NewRule) -> NewRule:
    """A rule as it is kept. Raises `BadRequest`, with a sentence that says what to write."""
    if len(new.message) > 1000:
        raise BadRequest("A message has at most 1000 characters.")
    if new.seconds is not None and new.seconds <= 0:
        raise BadRequest("A rule ends in the future.")
    if new.kind is RuleKind.QUOTA and (new.quota is None or new.quota < 0):
        raise BadRequest("A quota needs a number of launches and servers; 0 means no limit.")
    if new.kind is RuleKind.PAUSE:
        return NewRule(new.kind, "*", new.message, None, new.seconds)
    quota = new.quota if new.kind is RuleKind.QUOTA else None
    if new.kind is RuleKind.NETWORK:
        return NewRule(new.kind, str(read_network(new.pattern)), new.message, quota, new.seconds)
    read_pattern(new.pattern)
    return NewRule(new.kind, new.pattern.strip(), new.message, quota, new.seconds)


@dataclass(frozen=True, slots=True)
class _Held:
    """A rule that has been read, and when it ends by this process's steady clock."""

    pattern: Pattern | None
    rule: Rule
    until: float

    def holds(self, now: float) -> bool:
        return now < self.until


class Rulebook:
    """All rules of one moment. It is asked and never changed; a change makes a new one."""

    def __init__(self, namer: Namer, settings: "Fixed", rules: Sequence[Rule] = (), now: float | None = None) -> None:
        self.rules = tuple(rules)
        self._namer = namer
        self._fixed = settings
        at = time.monotonic() if now is None else now
        held: dict[RuleKind, list[_Held]] = {kind: [] for kind in RuleKind}
        networks: list[tuple[Network, _Held]] = []
        for rule in rules:
            plain = rule.kind in (RuleKind.NETWORK, RuleKind.PAUSE)
            one = _Held(None if plain else read_pattern(rule.pattern), rule, at + rule.left if rule.left is not None else float("inf"))
            held[rule.kind].append(one)
            if rule.kind is RuleKind.NETWORK:
                networks.append((read_network(rule.pattern), one))
        self._held = held
        self._networks = Networks(networks)

    def paused(self, now: float | None = None) -> Rule | None:
        """The pause that holds, if there is one."""
        at = time.monotonic() if now is None else now
        return next((one.rule for one in self._held[RuleKind.PAUSE] if one.holds(at)), None)

    def left(self, rule: Rule, now: float | None = None) -> float | None:
        """Seconds that a rule goes on; None without an end."""
        at = time.monotonic() if now is None else now
        return next((max(0.0, one.until - at) for one in self._held[rule.kind] if one.rule is rule and one.rule.left is not None), None)

    def check_client(self, client: str, now: float | None = None) -> None:
        """Raise `BannedNetwork` for a client that may not launch."""
        at = time.monotonic() if now is None else now
        for one in self._networks.find(client):
            if one.holds(at):
                raise BannedNetwork(one.rule.message or f"Requests from {one.rule.pattern} are not allowed")
        for label in self._fixed.networks.find(client):
            raise BannedNetwork(f"Requests from {label} are not allowed")

    def check(self, names: Names, said: str, now: float | None = None, *, listed: bool = True) -> None:
        """Raise `Refused` for a spec that may not be launched; `said` is what its user calls it. Without `listed`, what is allowed by
        name does not matter.
        """
        at = time.monotonic() if now is None else now
        for one in self._held[RuleKind.BANNED]:
            if one.holds(at) and one.pattern is not None and any_matches(one.pattern, names.all):
                raise Refused(one.rule.message or _REFUSED.format(said))
        if any(any_matches(pattern, names.all) for pattern in self._fixed.banned):
            raise Refused(_REFUSED.format(said))
        allowed = [one.pattern for one in self._held[RuleKind.ALLOWED] if one.holds(at) and one.pattern is not None]
        allowed += self._fixed.allowed
        if listed and allowed and not any(any_matches(pattern, names.sure) for pattern in allowed):
            raise Refused(_REFUSED.format(said))

    def quota(self, names: Names, usual: int, now: float | None = None) -> int:
        """Launches and servers that a repository may have at a time; 0 for no limit."""
        at = time.monotonic() if now is None else now
        for one in self._held[RuleKind.QUOTA]:  # newest first
            if one.holds(at) and one.pattern is not None and any_matches(one.pattern, names.sure):
                return one.rule.quota or 0
        return next((quota for pattern, quota in self._fixed.quotas if any_matches(pattern, names.sure)), usual)


class Fixed:
    """What the settings say, which have been checked when they were read."""

    def __init__(self, providers: ProviderSettings, limits: LimitSettings) -> None:
        self.banned: list[Pattern] = [Expression(text) for text in providers.banned]
        self.allowed: list[Pattern] = [Expression(text) for text in providers.allowed]
        self.quotas: list[tuple[Pattern, int]] = [(Expression(text), quota) for text, quota in limits.quotas.items()]
        self.networks = Networks([(read_network(text), label or text) for text, label in limits.banned_networks.items()])
