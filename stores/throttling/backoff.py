"""Waiting before a call is tried again: exponential with full jitter, up to a deadline (R47)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from stores.errors import TransientError

STOPPING = threading.Event()
"""Set once this process has been asked to end: nothing is tried again, every wait is over (R139)."""


def go_on(stopping: Callable[[], bool], told: str) -> None:
    """Return while nothing is to stop; raises TransientError E-STOPPED, which says `told`, once it is."""
    if stopping():
        raise TransientError("E-STOPPED", told)


class Backoff:
    """One series of attempts at the same work."""

    def __init__(
        self,
        deadline_s: float,
        *,
        first_s: float = 0.05,
        most_s: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = STOPPING.wait,
    ) -> None:
        """Start the series now; waits grow from `first_s` to `most_s` at the most."""
        self._give_up = clock() + deadline_s
        self._ceiling_s = first_s
        self._most_s = most_s
        self._clock = clock
        self._sleep = sleep

    def extend(self, seconds: float) -> None:
        """The deadline is so much later: time in which nothing was tried does not count."""
        self._give_up += seconds

    def wait(self) -> bool:
        """Sleep a random part of the current ceiling and double it.

        False at once when the deadline has passed or the process has been asked to end.
        """
        left_s = self._give_up - self._clock()
        if left_s <= 0 or STOPPING.is_set():
            return False
        self._sleep(min(random.uniform(0, self._ceiling_s), left_s))
        self._ceiling_s = min(self._ceiling_s * 2, self._most_s)
        return True
