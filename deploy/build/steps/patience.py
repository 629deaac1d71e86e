"""Waiting for another side that is away: a forge that is being restarted costs a build nothing but the time.

Shared by all runtimes (`services/runtimes/local/steps` has a link to this file), so it stands on the standard library.
"""

import time

_FIRST, _LONGEST = 1.0, 5.0  # seconds of pauses, which double


class Patience:
    """Pauses for so many seconds, counted from the first failure."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._pause = seconds, _FIRST
        self._until: float | None = None

    def lasts(self) -> bool:
        """Whether there is to be another attempt, now that one has failed."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        return now + self._pause <= self._until

    def wait(self) -> None:
        """Pause before the next attempt."""
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST)
