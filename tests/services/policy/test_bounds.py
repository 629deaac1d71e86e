"""Which of many requests the limits leave: each limit by itself, in the order of coming, and with the time to come again."""

from collections import Counter

import pytest

from services.policy.bounds import HOUR, MINUTE, Bounds, Counts, Rate, Refusal, Request, bounds, judge
from services.settings import FrontSettings, LimitSettings

A, B, C = (Request(client, network, "github.com/org/name", 0) for client, network in (
    ("203.0.113.1", "203.0.113.0/24"), ("203.0.113.2", "203.0.113.0/24"), ("192.0.2.1", "192.0.2.0/24")))


def limits(found: list[Refusal | Rate | None]) -> list[str]:
    return [one.limit if isinstance(one, Refusal) else "" for one in found]


@pytest.mark.parametrize(("values", "there", "asked", "hit"), [
    ({}, Counts(open=9999), [A, B, C], ["", "", ""]),
    ({"open_per_client": 2}, Counts(), [A, A, A, B], ["", "", "open_per_client", ""]),
    ({"open_per_client": 2}, Counts(open_of=Counter({"client 203.0.113.1": 2})), [A, B], ["open_per_client", ""]),
    ({"open_per_network": 2}, Counts(), [A, B, A, C], ["", "", "open_per_network", ""]),
    ({"open_total": 2}, Counts(open=1), [A, B, C], ["", "open_total", "open_total"]),
    ({"servers_per_client": 3}, Counts(live_of=Counter({"client 203.0.113.1": 2})), [A, A, B], ["", "servers_per_client", ""]),
    ({"servers_per_network": 3}, Counts(live_of=Counter({"network 203.0.113.0/24": 2})), [A, B, C], ["", "servers_per_network", ""]),
])
def test_what_is_under_way_or_runs(values, there, asked, hit) -> None:
    assert limits(judge(asked, there, Bounds(**values))) == hit


def test_what_is_refused_counts_against_nothing() -> None:
    found = judge([A, A, B], Counts(), Bounds(open_per_client=1, open_per_network=2, launches_per_minute=5))
    assert limits(found) == ["", "open_per_client", ""]


def test_repositories_have_their_own_quotas() -> None:
    few, many = (Request("192.0.2.1", "192.0.2.0/24", name, quota) for name, quota in (("r/few", 1), ("r/many", 3)))
    there = Counts(live_of=Counter({"repository r/many": 1}))
    assert limits(judge([few, few, many, many, many], there, Bounds())) == ["", "servers_per_repository", "", "", "servers_per_repository"]


def test_rates_say_when_their_window_ends() -> None:
    there = Counts(rates={("client 203.0.113.1", MINUTE): (1, 41.2), ("client 203.0.113.1", HOUR): (9, 1800.0)})
    found = judge([A, A, B], there, Bounds(launches_per_minute=2, launches_per_hour=12))
    assert found[0] == Rate(2, 0, 41.2)
    assert isinstance(found[1], Refusal)
    assert (found[1].limit, found[1].retry_after) == ("launches_per_minute", 42)
    assert found[1].sentence.startswith("Rate limit exceeded. Try again in 42 seconds.")
    assert found[2] == Rate(2, 1, 60.0)


def test_of_two_rates_that_are_used_up_the_longer_wait_is_told() -> None:
    there = Counts(rates={("client 203.0.113.1", MINUTE): (2, 41.2), ("network 203.0.113.0/24", HOUR): (3, 1800.0)})
    (found,) = judge([A], there, Bounds(launches_per_minute=2, network_launches_per_hour=3))
    assert isinstance(found, Refusal)
    assert (found.limit, found.retry_after) == ("network_launches_per_hour", 1800)


def test_tokens_of_our_pages_are_exempt_from_rates_and_the_admin_from_all_but_the_total() -> None:
    token = Request(A.client, A.network, counted=False)
    admin = Request(A.client, A.network, trusted=True)
    rated = Bounds(launches_per_minute=1, open_per_client=3, open_total=5)
    assert limits(judge([token, token, A, A], Counts(), rated)) == ["", "", "", "open_per_client"]
    assert limits(judge([admin] * 6, Counts(), rated)) == [""] * 5 + ["open_total"]


def test_the_usual_numbers_hold_where_others_come() -> None:
    here, published = FrontSettings(), FrontSettings(host="0.0.0.0")
    assert bounds(LimitSettings(), here).rates == ()
    assert bounds(LimitSettings(), published).launches_per_minute == 600
    assert bounds(LimitSettings(launches_per_minute=0), published).launches_per_minute == 0
    assert bounds(LimitSettings(launches_per_minute=7), here).launches_per_minute == 7


def test_a_class_of_300_behind_one_address_is_let_in() -> None:
    usual = bounds(LimitSettings(), FrontSettings(host="0.0.0.0"))
    crowd = Request("203.0.113.1", "203.0.113.0/24", "github.com/org/new", usual.servers_per_repository)
    assert limits(judge([crowd] * 300, Counts(), usual)) == [""] * 300
