"""What rules and settings forbid, allow and bound; addresses and networks."""

import contextlib

import pytest

from services.errors import BadRequest, BannedNetwork, Misconfigured, Refused
from services.policy.naming import Namer
from services.policy.networks import network_of, read_network
from services.policy.rules import Fixed, NewRule, Rule, Rulebook, RuleKind, checked
from services.settings import LimitSettings, ProviderSettings, load

NAMER = Namer(ProviderSettings())
GOOD = NAMER.names("gh", "org/name/HEAD", "org/name", "HEAD")
OTHER = NAMER.names("gh", "other/name/HEAD", "other/name", "HEAD")


def book(*rules: Rule, limits: LimitSettings | None = None, **providers: list[str]) -> Rulebook:
    return Rulebook(NAMER, Fixed(ProviderSettings(**providers), limits or LimitSettings()), rules, now=0.0)


def rule(kind: str, pattern: str = "*", **values) -> Rule:
    return Rule(pattern, RuleKind(kind), pattern, **values)


def refused(found: Rulebook, names, now: float = 0.0) -> bool:
    try:
        found.check(names, "x", now=now)
    except Refused:
        return True
    return False


@pytest.mark.parametrize(("found", "good", "other"), [
    (book(), False, False),
    (book(rule("banned", "github.com/org/*")), True, False),
    (book(rule("banned", "gh/ORG/name")), True, False),
    (book(rule("banned", "^gh/org/.*HEAD$")), True, False),
    (book(banned=["gh/org/"]), True, False),  # as BinderHub's: from the begin on
    (book(banned=["org"]), False, False),
    (book(rule("allowed", "gh/org/*")), False, True),
    (book(rule("allowed", "gh/org/*"), rule("allowed", "gh/other/*")), False, False),
    (book(allowed=["gh/org/.*"]), False, True),
    (book(rule("allowed", "gh/other/*"), allowed=["gh/org/.*"]), False, False),
    (book(rule("allowed", "*"), rule("banned", "gh/org/name")), True, False),
])
def test_what_may_be_launched(found: Rulebook, good: bool, other: bool) -> None:
    assert (refused(found, GOOD), refused(found, OTHER)) == (good, other)


def test_a_rule_ends_by_itself() -> None:
    found = book(rule("banned", "gh/org/*", left=10.0), rule("pause", message="Later.", left=10.0))
    assert (refused(found, GOOD, now=9.0), refused(found, GOOD, now=10.0)) == (True, False)
    assert (found.paused(now=9.0) is not None, found.paused(now=10.0)) == (True, None)
    assert found.left(found.rules[1], now=4.0) == 6.0


def test_the_sentence_is_the_rules_own_or_binderhubs() -> None:
    with pytest.raises(Refused, match=r"^It mines coins\.$"):
        book(rule("banned", message="It mines coins.")).check(GOOD, "org/name/HEAD")
    with pytest.raises(Refused, match=r"^Sorry, org/name/HEAD is not allowed to launch\. Please contact admins for more info!$"):
        book(rule("banned")).check(GOOD, "org/name/HEAD")


def test_quotas_the_newest_rule_wins_then_the_first_setting() -> None:
    limits = LimitSettings(quotas={"gh/org/.*": 200, "gh/.*": 50})
    assert [book(limits=limits).quota(names, 10) for names in (GOOD, OTHER)] == [200, 50]
    found = book(rule("quota", "gh/org/name", quota=7), rule("quota", "gh/org/*", quota=8), limits=limits)
    assert (found.quota(GOOD, 10), book().quota(GOOD, 10)) == (7, 10)


@pytest.mark.parametrize(("client", "banned"), [
    ("203.0.113.9", True), ("203.0.114.9", False), ("::ffff:203.0.113.9", True), ("2001:db8:1::5", True), ("2001:db8:2::5", False),
    ("198.51.100.1", True), ("198.51.100.2", False), ("fe80::1%eth0", False), ("unknown", False), ("", False),
    ("203.0.113.9, 1.1.1.1", False),
])
def test_banned_networks(client: str, banned: bool) -> None:
    found = book(rule("network", "203.0.113.0/24"), rule("network", "2001:db8:1::/48"),
                 limits=LimitSettings(banned_networks={"198.51.100.1": "the lab"}))
    with pytest.raises(BannedNetwork) if banned else contextlib.nullcontext():
        found.check_client(client)


def test_a_narrow_ban_that_has_ended_does_not_hide_a_wide_one() -> None:
    found = book(rule("network", "203.0.113.9/32", left=1.0), rule("network", "203.0.0.0/16", message="All of you."))
    with pytest.raises(BannedNetwork, match="All of you"):
        found.check_client("203.0.113.9", now=2.0)


@pytest.mark.parametrize(("client", "network"), [
    ("203.0.113.9", "203.0.113.0/24"), ("::ffff:203.0.113.9", "203.0.113.0/24"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"), ("unknown", "unknown"), ("", ""),
])
def test_networks_of_clients(client: str, network: str) -> None:
    assert network_of(client) == network
    assert network_of("203.0.113.9", ipv4=16) == "203.0.0.0/16"


def test_networks_are_read_as_people_write_them() -> None:
    texts = (" 203.0.113.7/24", "::1", "::ffff:203.0.113.0/120")
    assert [str(read_network(text)) for text in texts] == ["203.0.113.0/24", "::1/128", "203.0.113.0/24"]


@pytest.mark.parametrize("new", [
    NewRule(RuleKind.NETWORK, "example.org"), NewRule(RuleKind.BANNED, ""), NewRule(RuleKind.QUOTA, "gh/*"),
    NewRule(RuleKind.QUOTA, "gh/*", quota=-1), NewRule(RuleKind.BANNED, "*", seconds=0), NewRule(RuleKind.BANNED, "*", "x" * 1001),
])
def test_what_is_no_rule_is_refused(new: NewRule) -> None:
    with pytest.raises(BadRequest):
        checked(new)


@pytest.mark.parametrize(("environ", "key"), [
    ({"DOCKYARD_PROVIDERS_BANNED": '["^(?!gh/org/)"]'}, "providers.banned"),
    ({"DOCKYARD_PROVIDERS_ALLOWED": '["("]'}, "providers.allowed"),
    ({"DOCKYARD_LIMITS_QUOTAS": '{"(": 3}'}, "limits.quotas"),
    ({"DOCKYARD_LIMITS_BANNED_NETWORKS": '{"x": "y"}'}, "limits.banned_networks"),
])
def test_a_wrong_setting_is_named(environ: dict[str, str], key: str) -> None:
    with pytest.raises(Misconfigured, match=rf"Setting {key} \(environment "):
        load(environ)
