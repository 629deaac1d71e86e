"""When a breaker opens, who tries, and what is shown of it."""

from services.observe.breakers import Breaker, PerHost, states


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_failures_in_a_row_and_lets_one_try() -> None:
    clock = Clock()
    breaker = Breaker("thing", threshold=3, longest=8, now=clock)
    breaker.failed("no")
    breaker.failed("no")
    breaker.succeeded()
    for _ in range(3):
        assert breaker.wait() == 0
        breaker.failed("It is away.")
    assert breaker.state().state == "open"
    assert breaker.state().reason == "It is away."
    pauses = []
    for _ in range(6):
        pauses.append(breaker.wait())
        assert pauses[-1] > 0
        clock.now += pauses[-1] + 0.001
        assert breaker.state().state == "half-open"
        assert breaker.wait() == 0
        assert breaker.wait() > 0
        breaker.failed("It is still away.")
    assert all(0.7 <= pauses[n] / min(2**n, 8) <= 1.31 for n in range(6))
    clock.now += 20
    assert breaker.wait() == 0
    breaker.succeeded()
    assert (breaker.state().ok, breaker.state().opened, breaker.state().reason) == (True, 1, "")


def test_what_was_under_way_when_it_opened_does_not_prolong_the_pause() -> None:
    clock = Clock()
    breaker = Breaker("thing", threshold=1, now=clock)
    breaker.failed("no")
    before = breaker.wait()
    for _ in range(50):
        breaker.failed("no")
    assert breaker.wait() == before


def test_who_tries_and_is_cancelled_leaves_the_try_to_the_next() -> None:
    clock = Clock()
    breaker = Breaker("thing", threshold=1, now=clock)
    breaker.failed("no")
    clock.now += 5
    assert breaker.wait() == 0
    breaker.abandoned()
    assert breaker.wait() == 0
    clock.now += 30  # nobody has told the end of that one
    assert breaker.wait() == 0


def test_a_refusal_is_a_pause_and_no_failure() -> None:
    clock = Clock()
    breaker = Breaker("thing", now=clock)
    breaker.refused(30, "Too many.")
    assert 29 < breaker.wait() <= 30
    assert (breaker.state().state, breaker.state().failures) == ("paused", 0)
    clock.now += 30
    assert breaker.wait() == 0


def test_hosts_are_forgotten_and_all_is_shown() -> None:
    hosts = PerHost("forge")
    for n in range(300):
        hosts.of(f"h{n}.example.org")
    bad = hosts.of("bad.example.org")
    for _ in range(9):
        bad.failed("It is away.")
    other = PerHost("forge").of("bad.example.org")
    found = [state for state in states() if state.name == "forge bad.example.org"]
    assert [state.state for state in found] == ["open"]
    assert other.state().ok
    assert hosts.of("bad.example.org") is bad
