"""How many launches go to the hub at a time, and when: the numbers alone."""

from services.hub.throttle import Throttle


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_trouble_halves_the_limit_once_a_moment_and_success_brings_it_back() -> None:
    clock = Clock()
    throttle = Throttle(64, slow=1.0, now=clock)
    for _ in range(20):
        throttle.answered(429, None, 3)
    assert throttle.limit == 32
    assert throttle.room() == 0
    clock.now += 2.9
    assert throttle.room() == 0
    clock.now += 0.2
    assert throttle.room() == 32
    for _ in range(32):
        throttle.ready()
    assert 32.9 < throttle.limit < 33.1  # one more per round beyond where trouble was met
    for _ in range(5000):
        throttle.ready()
    assert throttle.room() == 64


def test_a_slow_hub_gets_less() -> None:
    clock = Clock()
    throttle = Throttle(64, slow=1.0, now=clock)
    for _ in range(20):
        throttle.answered(200, 4.0)
        clock.now += 1.1
    assert throttle.room() == 1
    for _ in range(20):
        throttle.answered(200, 0.1)
        throttle.ready()
    assert throttle.latency < 1.0
    assert throttle.room() > 1


def test_a_hub_that_is_back_is_not_stormed() -> None:
    clock = Clock()
    throttle = Throttle(64, slow=1.0, now=clock)
    for _ in range(3):
        throttle.lost("It does not answer.")
    assert throttle.room() == 0
    assert throttle.breaker.wait() > 0
    clock.now += 2
    assert throttle.room() == 0  # nobody knows yet
    assert throttle.breaker.wait() == 0
    assert throttle.breaker.wait() > 0  # one tries
    throttle.answered(200, 0.01)
    assert throttle.room() == 4
    for _ in range(400):
        throttle.ready()
    assert throttle.room() > 20
